/** Bounds of the protocol (docs/protocol.md). Each number stands in the contracts as well. */

/** Parts of a million: the unit of shares, splits and attribution. */
export const PPM = 1_000_000;

export const MAX_BODY_BYTES = 1_024;
export const MAX_COMPOSITION_BYTES = 2_048;
export const MAX_ADAPTERS = 4;
export const MAX_DATA_NETS = 8;
export const MAX_TOOLS = 4;
export const MAX_LINEAGE = 8;
export const MAX_CONTEXT_ENTRIES = 12;
export const MAX_TRAINING_ENTRIES = 12;
export const MAX_TOOL_ENTRIES = 4;
export const MAX_EARNERS_PER_RECEIPT = 32;
export const MAX_RECEIPTS_PER_BATCH = 16_384;
/** Levels of the aligned subtree that one demand asks for (32 receipts). */
export const CHUNK_LEVELS = 5;
/** Levels of the trees of earners and of channels: one for each bit of an id. */
export const TREE_DEPTH = 32;
export const NONCE_WINDOW = 256n;
/** A snapshot of the state is published with every batch whose height is a multiple of this. */
export const SNAPSHOT_INTERVAL = 64n;

/** The first price that a receipt cannot carry. */
export const PRICE_LIMIT = 1n << 96n;
/** The first cumulative amount that a leaf cannot carry. */
export const AMOUNT_LIMIT = 1n << 128n;

/** Times that the contracts hold as immutables, in seconds. */
export interface Windows {
  /** L: the longest life of a voucher. */
  voucherLife: number;
  /** P: how long after a voucher's expiry its receipt may be posted. */
  posting: number;
  /** S = W + R + C + K: after so long a batch is final and can have been collected. See {@link settlingTime}. */
  settling: number;
}

/** S of the contracts' windows to challenge, reveal, check and collect, in seconds. */
export function settlingTime(windows: { challenge: number; reveal: number; check: number; collect: number }): number {
  return windows.challenge + windows.reveal + windows.check + windows.collect;
}

/** LAG = P + L: how old the registry view of a batch may be, in seconds. */
export function registryLag(windows: Windows): number {
  return windows.posting + windows.voucherLife;
}
