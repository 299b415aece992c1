import type { SealedBatch } from "./batch.ts";
import { chunkLevels, proveChunk } from "./batch-tree.ts";
import { type Hex, toHex } from "./bytes.ts";
import { ProtocolError } from "./errors.ts";
import { type ChannelWitness, channelWitness, type HeaderWitness, headerWitness } from "./fraud-proof.ts";
import type { BatchHeader } from "./header.ts";
import { treeProve } from "./sparse-tree.ts";
import { channelIn, earnedBy, type State } from "./state.ts";
import type { Voucher } from "./voucher.ts";

/** `Collection` of the contracts: one channel's record and a voucher that backs it. */
export interface CollectionWitness {
  voucher: Omit<Voucher, "requestHash"> & { requestHash: Hex };
  r: Hex;
  s: Hex;
  v: number;
  state: ChannelWitness;
}

/** What `collect` takes: the final header and channels with their multiproof. */
export interface CollectWitness {
  header: HeaderWitness;
  collections: CollectionWitness[];
  siblings: Hex[];
  bitmap: Hex;
}

/** What `claim` takes: the final header and what the ids have earned, with their multiproof. */
export interface ClaimWitness {
  header: HeaderWitness;
  ids: number[];
  earned: bigint[];
  siblings: Hex[];
  bitmap: Hex;
}

/** What `revealChunk` takes beside the header. */
export interface RevealWitness {
  receipts: { length: number; stateRoot: Hex; body: Hex }[];
  /** Siblings from the chunk's root to the receipts root. */
  path: Hex[];
}

/**
 * The witness with which a batch's charges to some channels are collected.
 *
 * @param header The operator's newest final header.
 * @param state The state that the header commits to.
 * @param channels Strictly ascending; each has been served.
 * @throws {ProtocolError} When a channel has not been served.
 */
export function collectWitness(header: BatchHeader, state: State, channels: readonly number[]): CollectWitness {
  const proof = treeProve(state.channels, channels);
  const collections = channels.map((channel): CollectionWitness => {
    const record = channelIn(state, channel);
    if (!record.voucher) throw new ProtocolError(`Channel ${channel} has not been served`, "9");
    const { signature, ...voucher } = record.voucher;
    return {
      voucher: { ...voucher, requestHash: toHex(voucher.requestHash) },
      r: toHex(signature.subarray(0, 32)),
      s: toHex(signature.subarray(32, 64)),
      v: signature[64],
      state: channelWitness(record),
    };
  });
  return {
    header: headerWitness(header),
    collections,
    siblings: proof.siblings.map(toHex),
    bitmap: toHex(proof.bitmap),
  };
}

/**
 * The witness with which some ids' earnings are claimed.
 *
 * @param header The operator's newest final header.
 * @param state The state that the header commits to.
 * @param ids Strictly ascending.
 */
export function claimWitness(header: BatchHeader, state: State, ids: readonly number[]): ClaimWitness {
  const proof = treeProve(state.earners, ids);
  return {
    header: headerWitness(header),
    ids: [...ids],
    earned: ids.map((id) => earnedBy(state, id)),
    siblings: proof.siblings.map(toHex),
    bitmap: toHex(proof.bitmap),
  };
}

/**
 * The answer to a demand for a chunk.
 *
 * @throws {ProtocolError} When a leaf of the chunk is vacant: there is nothing that could be revealed.
 * @throws {MalformedProof} When the batch has no such chunk.
 */
export function revealWitness(batch: SealedBatch, chunk: number): RevealWitness {
  const path = proveChunk(batch.tree, chunk).map(toHex);
  const width = 2 ** chunkLevels(batch.header.count);
  const receipts = batch.receipts.slice(chunk * width, (chunk + 1) * width).map((receipt) => {
    if (!receipt) throw new ProtocolError("A vacant leaf cannot be revealed", "9");
    return { length: receipt.length, stateRoot: toHex(receipt.stateRoot), body: toHex(receipt.body) };
  });
  return { receipts, path };
}
