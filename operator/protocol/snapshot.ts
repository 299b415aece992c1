import { type ByteReader, type ByteWriter, sameBytes } from "./bytes.ts";
import { MalformedBytes } from "./errors.ts";
import type { RegistryView } from "./registry-view.ts";
import { recoverSigner, SIGNATURE_BYTES } from "./signature.ts";
import { type Indexed, treeEntries, treeRoot, treeSet } from "./sparse-tree.ts";
import { type ChannelRecord, emptyState, type State, type StateSummary } from "./state.ts";
import { type SignedVoucher, voucherDigest } from "./voucher.ts";

/** Both trees of a state, leaf by leaf, with the voucher that backs each channel. */
export interface Snapshot {
  /** Ascending by id; amounts above zero. */
  earners: Indexed<bigint>[];
  /** Ascending by channel. */
  channels: Indexed<ChannelRecord & { voucher: SignedVoucher }>[];
}

const EARNER_BYTES = 4 + 16;
const VOUCHER_BYTES = 8 + 4 + 4 + 32 + 16 + 8 + SIGNATURE_BYTES;
const CHANNEL_BYTES = 4 + 16 + 16 + 8 + 32 + VOUCHER_BYTES;

/** All leaves of a state. */
export function takeSnapshot(state: State): Snapshot {
  const channels = Array.from(treeEntries(state.channels), ([channel, record]) => {
    const { voucher } = record;
    // Only a step puts a record into the tree, and it puts the voucher with it.
    if (!voucher) throw new MalformedBytes(`channel ${channel} without a voucher`, "9");
    return [channel, { ...record, voucher }] as const;
  });
  return { earners: [...treeEntries(state.earners)], channels };
}

/** Bytes of a snapshot's form. */
export function snapshotBytes(snapshot: Snapshot): number {
  return 8 + EARNER_BYTES * snapshot.earners.length + CHANNEL_BYTES * snapshot.channels.length;
}

/**
 * Writes a snapshot: `count u32 ‖ (id u32 ‖ earned u128)… ‖ count u32 ‖ (channel u32 ‖ spent u128 ‖ capSeen u128 ‖
 * top u64 ‖ bitmap u256 ‖ nonce u64 ‖ agent u32 ‖ version u32 ‖ requestHash ‖ maxPrice u128 ‖ expiry u64 ‖
 * signature)…`. The voucher's channel and cap are the record's.
 */
export function writeSnapshot(writer: ByteWriter, snapshot: Snapshot): void {
  writer.u32(snapshot.earners.length);
  for (const [id, earned] of snapshot.earners) writer.u32(id).u128(earned);
  writer.u32(snapshot.channels.length);
  for (const [channel, { spent, capSeen, top, bitmap, voucher }] of snapshot.channels) {
    writer.u32(channel).u128(spent).u128(capSeen).u64(top).u256(bitmap);
    writer.u64(voucher.nonce).u32(voucher.agent).u32(voucher.version).raw(voucher.requestHash, 32);
    writer.u128(voucher.maxPrice).u64(voucher.expiry).raw(voucher.signature, SIGNATURE_BYTES);
  }
}

/**
 * Reads a snapshot.
 *
 * @throws {MalformedBytes} When ids do not ascend, a leaf is zero or the bytes end too early.
 */
export function readSnapshot(reader: ByteReader): Snapshot {
  const earners = readList(reader, EARNER_BYTES, () => {
    const [id, earned] = [reader.u32(), reader.u128()];
    if (earned === 0n) throw new MalformedBytes("an earner with nothing earned", "9");
    return [id, earned] as const;
  });
  const channels = readList(reader, CHANNEL_BYTES, () => {
    const channel = reader.u32();
    const [spent, capSeen, top, bitmap] = [reader.u128(), reader.u128(), reader.u64(), reader.u256()];
    // The newest nonce is used, by the definition of `top`; this also keeps zero leaves out.
    if ((bitmap & 1n) === 0n) throw new MalformedBytes("a channel whose newest nonce is unused", "9");
    if (spent > capSeen) throw new MalformedBytes("a channel that spent more than its cap", "9");
    const voucher: SignedVoucher = {
      channel,
      nonce: reader.u64(),
      agent: reader.u32(),
      version: reader.u32(),
      requestHash: reader.raw(32),
      maxPrice: reader.u128(),
      cap: capSeen,
      expiry: reader.u64(),
      signature: reader.raw(SIGNATURE_BYTES),
    };
    return [channel, { spent, capSeen, top, bitmap, voucher }] as const;
  });
  return { earners, channels };
}

/**
 * Rebuilds the state that a snapshot describes and a header commits to.
 *
 * @returns The state, or undefined when the snapshot is not that of the header.
 */
export function restoreState(snapshot: Snapshot, summary: StateSummary): State | undefined {
  const empty = emptyState();
  const state: State = {
    earners: treeSet(empty.earners, snapshot.earners),
    channels: treeSet<ChannelRecord>(empty.channels, snapshot.channels),
    totalSpent: summary.totalSpent,
    treasuryEarned: summary.treasuryEarned,
    operatorEarned: summary.operatorEarned,
  };
  const same =
    sameBytes(treeRoot(state.earners), summary.earnersRoot) &&
    sameBytes(treeRoot(state.channels), summary.channelsRoot);
  return same ? state : undefined;
}

/**
 * Channels whose voucher in a snapshot is not signed by their session key: with such a voucher nobody can collect.
 *
 * The header commits to the trees, not to the vouchers, so whoever starts from a snapshot alone asks this. A voucher
 * stands in the snapshot with the record's highest cap, which therefore is signed as well.
 *
 * @param separator Domain separator of the vouchers.
 */
export function unbackedChannels(snapshot: Snapshot, separator: Uint8Array, registry: RegistryView): number[] {
  return snapshot.channels
    .filter(([channel, { voucher }]) => {
      const signer = recoverSigner(voucherDigest(separator, voucher), voucher.signature);
      return signer === undefined || signer !== registry.channel(channel)?.sessionKey.toLowerCase();
    })
    .map(([channel]) => channel);
}

/** Reads a counted list of records that ascend by index. The count is checked before anything is read. */
function readList<T>(reader: ByteReader, size: number, read: () => Indexed<T>): Indexed<T>[] {
  const count = reader.u32();
  if (count * size > reader.left) throw new MalformedBytes("a list longer than the data", "9");
  const list: Indexed<T>[] = [];
  for (let i = 0; i < count; i++) {
    const entry = read();
    if (i > 0 && entry[0] <= list[i - 1][0]) throw new MalformedBytes("a list that does not ascend", "9");
    list.push(entry);
  }
  return list;
}
