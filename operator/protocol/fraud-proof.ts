import type { SealedBatch } from "./batch.ts";
import { proveReceipt } from "./batch-tree.ts";
import { type Hex, toHex, ZERO_HASH } from "./bytes.ts";
import { type BatchHeader, EMPTY_SUMMARY } from "./header.ts";
import { keccak } from "./keccak.ts";
import type { RegistryView } from "./registry-view.ts";
import type { WrongStep } from "./replay.ts";
import { treeProve } from "./sparse-tree.ts";
import { type ChannelRecord, channelIn, earnedBy, type StateSummary, summarise, UNUSED_CHANNEL } from "./state.ts";
import { VERDICT } from "./verdict.ts";

/** `State` of the contracts, as viem encodes it. */
export interface StateWitness {
  earnersRoot: Hex;
  channelsRoot: Hex;
  totalSpent: bigint;
  treasuryEarned: bigint;
  operatorEarned: bigint;
}

/** `BatchHeader` of the contracts, as viem encodes it. */
export interface HeaderWitness {
  operator: number;
  sequence: bigint;
  height: bigint;
  parentHash: Hex;
  registryTime: number;
  count: number;
  receiptsRoot: Hex;
  dataHash: Hex;
  state: StateWitness;
}

/** `ReceiptLeaf` of the contracts. */
export interface LeafWitness {
  length: number;
  stateRoot: Hex;
  bodyHash: Hex;
  proof: Hex[];
}

/** `ChannelState` of the contracts. */
export interface ChannelWitness {
  spent: bigint;
  capSeen: bigint;
  top: bigint;
  bitmap: bigint;
}

/** `FraudProof` of the contracts: the one argument of `proveFraud`. */
export interface FraudProof {
  header: HeaderWitness;
  index: number;
  vacant: boolean;
  receipt: LeafWitness;
  body: Hex;
  previous: LeafWitness;
  parent: HeaderWitness;
  before: StateWitness;
  composition: Hex;
  channel: ChannelWitness;
  channelSiblings: Hex[];
  channelBitmap: Hex;
  earnedBefore: bigint[];
  earnerSiblings: Hex[];
  earnerBitmap: Hex;
}

const NO_HEADER: BatchHeader = {
  operator: 0,
  sequence: 0n,
  height: 0n,
  parentHash: ZERO_HASH,
  registryTime: 0,
  count: 0,
  receiptsRoot: ZERO_HASH,
  dataHash: ZERO_HASH,
  state: EMPTY_SUMMARY,
};
const NO_LEAF: LeafWitness = { length: 0, stateRoot: toHex(ZERO_HASH), bodyHash: toHex(ZERO_HASH), proof: [] };

/**
 * Everything that `proveFraud` asks for about the first wrong receipt of a batch. Parts that its rule does not need
 * and that cannot be had (the composition of an unknown agent) are left empty.
 *
 * @param parent Header of the batch below; null at height 1.
 */
export function buildFraudProof(
  batch: SealedBatch,
  parent: BatchHeader | null,
  wrong: WrongStep,
  registry: RegistryView,
): FraudProof {
  const { index, before, step } = wrong;
  const voucher = step.receipt?.voucher;
  const channelProof = voucher ? treeProve(before.channels, [voucher.channel]) : NO_PROOF;
  const credited = step.payout?.credits.map(({ id }) => id) ?? [];
  const earnerProof = treeProve(before.earners, credited);
  const agent = voucher && registry.agentVersion(voucher.agent, voucher.version);
  const body = batch.receipts[index]?.body;
  return {
    header: headerWitness(batch.header),
    index,
    vacant: body === undefined,
    receipt: leafWitness(batch, index),
    // An oversized body is not asked for, and dear to bring.
    body: body && step.verdict !== VERDICT.oversizedBody ? toHex(body) : "0x",
    previous: index > 0 ? leafWitness(batch, index - 1) : NO_LEAF,
    parent: headerWitness(index === 0 && parent ? parent : NO_HEADER),
    before: stateWitness(summarise(before)),
    composition: agent ? toHex(agent.bytes) : "0x",
    channel: channelWitness(voucher ? channelIn(before, voucher.channel) : UNUSED_CHANNEL),
    channelSiblings: channelProof.siblings.map(toHex),
    channelBitmap: toHex(channelProof.bitmap),
    earnedBefore: credited.map((id) => earnedBy(before, id)),
    earnerSiblings: earnerProof.siblings.map(toHex),
    earnerBitmap: toHex(earnerProof.bitmap),
  };
}

const NO_PROOF = { siblings: [], bitmap: new Uint8Array() };

/** A state's five numbers in the contracts' form. */
function stateWitness(state: StateSummary): StateWitness {
  return { ...state, earnersRoot: toHex(state.earnersRoot), channelsRoot: toHex(state.channelsRoot) };
}

/** A header in the contracts' form. */
export function headerWitness(header: BatchHeader): HeaderWitness {
  return {
    ...header,
    parentHash: toHex(header.parentHash),
    receiptsRoot: toHex(header.receiptsRoot),
    dataHash: toHex(header.dataHash),
    state: stateWitness(header.state),
  };
}

/** A channel's record in the contracts' form. */
export function channelWitness({ spent, capSeen, top, bitmap }: ChannelRecord): ChannelWitness {
  return { spent, capSeen, top, bitmap };
}

function leafWitness(batch: SealedBatch, index: number): LeafWitness {
  const proof = proveReceipt(batch.tree, index).map(toHex);
  const receipt = batch.receipts[index];
  if (!receipt) return { ...NO_LEAF, proof };
  const { length, stateRoot, body } = receipt;
  return { length, stateRoot: toHex(stateRoot), bodyHash: toHex(keccak(body)), proof };
}
