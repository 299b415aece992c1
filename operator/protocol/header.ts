import { ByteReader, ByteWriter, ZERO_HASH } from "./bytes.ts";
import { keccak } from "./keccak.ts";
import type { StateSummary } from "./state.ts";

/** All that the chain keeps of a batch, by its hash. */
export interface BatchHeader {
  operator: number;
  /** Never used again by this operator. */
  sequence: bigint;
  /** Position in the chain of batches, from 1. */
  height: bigint;
  /** Header hash of the batch at the height below; zero at height 1. */
  parentHash: Uint8Array;
  /** B: the time at which the batch saw the registries, seconds since 1970. */
  registryTime: number;
  /** Number of receipts, 1 to 16,384. */
  count: number;
  receiptsRoot: Uint8Array;
  /** Keccak-256 of the published data. */
  dataHash: Uint8Array;
  /** The state after the last receipt. */
  state: StateSummary;
}

/** Bytes of a header without its tag. */
export const HEADER_BYTES = 237;

const HEADER_TAG = 0x07;

/** What stands for the state before the first batch. */
export const EMPTY_SUMMARY: StateSummary = {
  earnersRoot: ZERO_HASH,
  channelsRoot: ZERO_HASH,
  totalSpent: 0n,
  treasuryEarned: 0n,
  operatorEarned: 0n,
};

/** The hash by which the chain and the next batch know a header, 32 bytes. */
export function headerHash(header: BatchHeader): Uint8Array {
  return keccak(writeHeader(new ByteWriter(1 + HEADER_BYTES).u8(HEADER_TAG), header).finish());
}

/** Writes the fields of a header in the order in which they are hashed. */
function writeHeader(writer: ByteWriter, header: BatchHeader): ByteWriter {
  const { state } = header;
  return writer
    .u32(header.operator)
    .u64(header.sequence)
    .u64(header.height)
    .raw(header.parentHash, 32)
    .u40(header.registryTime)
    .u32(header.count)
    .raw(header.receiptsRoot, 32)
    .raw(header.dataHash, 32)
    .raw(state.earnersRoot, 32)
    .raw(state.channelsRoot, 32)
    .u128(state.totalSpent)
    .u128(state.treasuryEarned)
    .u128(state.operatorEarned);
}

/**
 * Reads a header of 237 bytes.
 *
 * @throws {MalformedBytes} When the length is another.
 */
export function decodeHeader(bytes: Uint8Array): BatchHeader {
  const reader = new ByteReader(bytes);
  const header: BatchHeader = {
    operator: reader.u32(),
    sequence: reader.u64(),
    height: reader.u64(),
    parentHash: reader.raw(32),
    registryTime: reader.u40(),
    count: reader.u32(),
    receiptsRoot: reader.raw(32),
    dataHash: reader.raw(32),
    state: {
      earnersRoot: reader.raw(32),
      channelsRoot: reader.raw(32),
      totalSpent: reader.u128(),
      treasuryEarned: reader.u128(),
      operatorEarned: reader.u128(),
    },
  };
  reader.end();
  return header;
}

/** A header's bytes, for journals. */
export function encodeHeader(header: BatchHeader): Uint8Array {
  return writeHeader(new ByteWriter(HEADER_BYTES), header).finish();
}
