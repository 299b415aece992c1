import { ByteWriter, ZERO_HASH } from "./bytes.ts";
import { keccak } from "./keccak.ts";
import type { NonceWindow } from "./nonce-window.ts";
import { emptyTree, type SparseTree, treeGet, treeRoot } from "./sparse-tree.ts";
import type { SignedVoucher } from "./voucher.ts";

/** What a channel's leaf holds, in wei of OPEN, and the voucher that backs it. */
export interface ChannelRecord extends NonceWindow {
  spent: bigint;
  /** The highest cap of any voucher served. */
  capSeen: bigint;
  /** A voucher with that cap: with it anyone can collect. Not part of the leaf; null where nothing was served. */
  voucher: SignedVoucher | null;
}

/** All that one operator owes, as a value: nothing changes a state, a step makes a new one. */
export interface State {
  /** What each id has earned in all, by id. */
  earners: SparseTree<bigint>;
  /** By channel. */
  channels: SparseTree<ChannelRecord>;
  totalSpent: bigint;
  treasuryEarned: bigint;
  operatorEarned: bigint;
}

/** The five numbers that stand for a state in a header. */
export interface StateSummary {
  earnersRoot: Uint8Array;
  channelsRoot: Uint8Array;
  totalSpent: bigint;
  treasuryEarned: bigint;
  operatorEarned: bigint;
}

const EARNER_TAG = 0x02;
const CHANNEL_TAG = 0x03;
const STATE_TAG = 0x06;

/** A channel that nothing was spent from. */
export const UNUSED_CHANNEL: ChannelRecord = { spent: 0n, capSeen: 0n, top: 0n, bitmap: 0n, voucher: null };

/** The state of an operator that has served nothing. */
export function emptyState(): State {
  return {
    earners: emptyTree(earnerLeaf),
    channels: emptyTree<ChannelRecord>(channelLeaf),
    totalSpent: 0n,
    treasuryEarned: 0n,
    operatorEarned: 0n,
  };
}

/** What an id has earned so far, in wei of OPEN. */
export function earnedBy(state: State, id: number): bigint {
  return treeGet(state.earners, id) ?? 0n;
}

/** The record of a channel. */
export function channelIn(state: State, channel: number): ChannelRecord {
  return treeGet(state.channels, channel) ?? UNUSED_CHANNEL;
}

/** The leaf of an earner; zero when nothing is earned. */
export function earnerLeaf(id: number, earned: bigint): Uint8Array {
  if (earned === 0n) return ZERO_HASH;
  return keccak(new ByteWriter(21).u8(EARNER_TAG).u32(id).u128(earned).finish());
}

/** The leaf of a channel; zero when all its numbers are. */
export function channelLeaf(channel: number, record: Omit<ChannelRecord, "voucher">): Uint8Array {
  const { spent, capSeen, top, bitmap } = record;
  if (spent === 0n && capSeen === 0n && top === 0n && bitmap === 0n) return ZERO_HASH;
  const leaf = new ByteWriter(77).u8(CHANNEL_TAG).u32(channel).u128(spent).u128(capSeen).u64(top).u256(bitmap);
  return keccak(leaf.finish());
}

/** Roots and totals of a state. */
export function summarise(state: State): StateSummary {
  const { totalSpent, treasuryEarned, operatorEarned } = state;
  return {
    earnersRoot: treeRoot(state.earners),
    channelsRoot: treeRoot(state.channels),
    totalSpent,
    treasuryEarned,
    operatorEarned,
  };
}

/** The hash that stands for a state in a receipt's leaf, 32 bytes. */
export function stateRoot(summary: StateSummary): Uint8Array {
  const preimage = new ByteWriter(113)
    .u8(STATE_TAG)
    .raw(summary.earnersRoot, 32)
    .raw(summary.channelsRoot, 32)
    .u128(summary.totalSpent)
    .u128(summary.treasuryEarned)
    .u128(summary.operatorEarned);
  return keccak(preimage.finish());
}
