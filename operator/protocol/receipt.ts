import { MAX_CONTEXT_ENTRIES, MAX_TOOL_ENTRIES, MAX_TRAINING_ENTRIES } from "./bounds.ts";
import { ByteReader, ByteWriter } from "./bytes.ts";
import { MalformedBytes } from "./errors.ts";
import { keccak } from "./keccak.ts";
import { SIGNATURE_BYTES } from "./signature.ts";
import type { SignedVoucher } from "./voucher.ts";

/** One source's part of a pool. */
export interface AttributionEntry {
  /** What earns: a data contribution, or a tool. */
  id: number;
  /** Part of the pool, 1 to 1,000,000. */
  ppm: number;
  /** What in the composition lets it earn: see the pools of {@link Receipt}. */
  via: number;
}

/** What an operator commits about one job. */
export interface Receipt {
  voucher: SignedVoucher;
  /** Salted hash of the answer, 32 bytes. */
  responseHash: Uint8Array;
  /** Hash of the trace from which the job can be done again, 32 bytes. */
  traceHash: Uint8Array;
  promptTokens: number;
  completionTokens: number;
  /** Wei of OPEN. */
  price: bigint;
  /** `via` is the index of a DataNet in the composition. */
  context: AttributionEntry[];
  /** `via` is the adapter's index × 8 + the index in that adapter's lineage. */
  training: AttributionEntry[];
  /** `via` is the index of the tool in the composition. */
  tool: AttributionEntry[];
}

const FORMAT = 1;
const FIXED_BYTES = 245;
const ENTRY_BYTES = 8;
const PREIMAGE_TAG = 0x04;
const LEAF_TAG = 0x05;

/**
 * The body of a receipt, at most 469 bytes.
 *
 * @throws {MalformedBytes} When a pool has too many entries or a number does not fit its field.
 */
export function encodeReceipt(receipt: Receipt): Uint8Array {
  const { voucher, context, training, tool } = receipt;
  checkCounts(context.length, training.length, tool.length);
  const writer = new ByteWriter(FIXED_BYTES + ENTRY_BYTES * (context.length + training.length + tool.length))
    .u8(FORMAT)
    .u32(voucher.channel)
    .u64(voucher.nonce)
    .u32(voucher.agent)
    .u32(voucher.version)
    .raw(voucher.requestHash, 32)
    .u128(voucher.maxPrice)
    .u128(voucher.cap)
    .u64(voucher.expiry)
    .raw(voucher.signature, SIGNATURE_BYTES)
    .raw(receipt.responseHash, 32)
    .raw(receipt.traceHash, 32)
    .u32(receipt.promptTokens)
    .u32(receipt.completionTokens)
    .u96(receipt.price)
    .u8(context.length)
    .u8(training.length)
    .u8(tool.length);
  for (const entry of [...context, ...training, ...tool]) writer.u32(entry.id).u24(entry.ppm).u8(entry.via);
  return writer.finish();
}

/**
 * Reads a body, refusing whatever the encoder would not write. What the fields say is judged elsewhere.
 *
 * @throws {MalformedBytes} When the format is not 1, a pool is too large or the length is not what the counts say.
 */
export function decodeReceipt(body: Uint8Array): Receipt {
  const reader = new ByteReader(body);
  if (reader.u8() !== FORMAT) throw new MalformedBytes("unknown format of receipt", "5");
  const voucher: SignedVoucher = {
    channel: reader.u32(),
    nonce: reader.u64(),
    agent: reader.u32(),
    version: reader.u32(),
    requestHash: reader.raw(32),
    maxPrice: reader.u128(),
    cap: reader.u128(),
    expiry: reader.u64(),
    signature: reader.raw(SIGNATURE_BYTES),
  };
  const responseHash = reader.raw(32);
  const traceHash = reader.raw(32);
  const promptTokens = reader.u32();
  const completionTokens = reader.u32();
  const price = reader.u96();
  const counts = [reader.u8(), reader.u8(), reader.u8()];
  checkCounts(counts[0], counts[1], counts[2]);
  const [context, training, tool] = counts.map((count) => {
    const entries: AttributionEntry[] = [];
    for (let i = 0; i < count; i++) entries.push({ id: reader.u32(), ppm: reader.u24(), via: reader.u8() });
    return entries;
  });
  reader.end();
  return { voucher, responseHash, traceHash, promptTokens, completionTokens, price, context, training, tool };
}

/** What a leaf of the receipts tree commits to. */
export interface ReceiptCommitment {
  /** Bytes of the body, as claimed. */
  length: number;
  /** Root of the state after the receipt, 32 bytes. */
  stateRoot: Uint8Array;
  /** Keccak-256 of the body, 32 bytes. */
  bodyHash: Uint8Array;
}

/** The leaf of a receipt: hashed twice, so that no leaf is another tree's node. */
export function receiptLeaf(index: number, commitment: ReceiptCommitment): Uint8Array {
  const inner = new ByteWriter(71)
    .u8(PREIMAGE_TAG)
    .u32(index)
    .u16(commitment.length)
    .raw(commitment.stateRoot, 32)
    .raw(commitment.bodyHash, 32);
  return keccak(new ByteWriter(33).u8(LEAF_TAG).raw(keccak(inner.finish())).finish());
}

function checkCounts(context: number, training: number, tool: number): void {
  if (context > MAX_CONTEXT_ENTRIES || training > MAX_TRAINING_ENTRIES || tool > MAX_TOOL_ENTRIES) {
    throw new MalformedBytes(`pools of ${context}, ${training} and ${tool} entries`, "5");
  }
}
