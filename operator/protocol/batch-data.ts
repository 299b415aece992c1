import type { CommittedReceipt } from "./batch.ts";
import { MAX_RECEIPTS_PER_BATCH, SNAPSHOT_INTERVAL } from "./bounds.ts";
import { ByteReader, ByteWriter } from "./bytes.ts";
import { MalformedBytes } from "./errors.ts";
import { readSnapshot, type Snapshot, snapshotBytes, takeSnapshot, writeSnapshot } from "./snapshot.ts";
import type { State } from "./state.ts";

/** What an operator publishes with a batch. */
export interface BatchData {
  height: bigint;
  /** Null stands for a leaf that is zero, which no honest batch has. */
  receipts: (CommittedReceipt | null)[];
  /** The state after the batch, at every 64th height. */
  snapshot: Snapshot | null;
}

/** "OLBD": what these bytes are, whoever finds them. */
const MAGIC = 0x4f_4c_42_44;
const FORMAT = 1;
const FIXED_BYTES = 4 + 1 + 8 + 4;

// How a receipt is written. The two that no honest batch has let published data own up to every lie that a leaf can
// tell, so that it can be proven without a demand.
const HONEST = 1;
const LENGTH_CLAIMED = 2;
const VACANT = 0;

/**
 * The published form of a batch:
 *
 * `magic u32 ‖ format u8 ‖ height u64 ‖ count u32 ‖ receipts ‖ snapshot`
 *
 * A receipt is `1 ‖ length u16 ‖ stateRoot ‖ body`; one whose leaf claims another length is
 * `2 ‖ length u16 ‖ stateRoot ‖ claimed u16 ‖ body`; an absent one is `0`. The snapshot (see `snapshot.ts`) is there
 * if and only if the height is a multiple of 64.
 *
 * @param after The state after the batch.
 * @throws {MalformedBytes} When a body is longer than 65,535 bytes.
 */
export function encodeBatchData(
  height: bigint,
  receipts: readonly (CommittedReceipt | null)[],
  after: State,
): Uint8Array {
  const snapshot = height % SNAPSHOT_INTERVAL === 0n ? takeSnapshot(after) : null;
  return encodeData({ height, receipts: [...receipts], snapshot });
}

/** The bytes of published data. See {@link encodeBatchData} for the form. */
export function encodeData({ height, receipts, snapshot }: BatchData): Uint8Array {
  const length = receipts.reduce((sum, receipt) => sum + receiptBytes(receipt), FIXED_BYTES);
  const writer = new ByteWriter(length + (snapshot ? snapshotBytes(snapshot) : 0));
  writer.u32(MAGIC).u8(FORMAT).u64(height).u32(receipts.length);
  for (const receipt of receipts) {
    if (!receipt) {
      writer.u8(VACANT);
    } else {
      const honest = receipt.length === receipt.body.length;
      writer
        .u8(honest ? HONEST : LENGTH_CLAIMED)
        .u16(receipt.body.length)
        .raw(receipt.stateRoot, 32);
      if (!honest) writer.u16(receipt.length);
      writer.raw(receipt.body);
    }
  }
  if (snapshot) writeSnapshot(writer, snapshot);
  return writer.finish();
}

/**
 * Reads published data. Whatever the encoder would not write is refused, so that data have one form only; bodies are
 * not looked into.
 *
 * @throws {MalformedBytes} When the bytes are not exactly such data.
 */
export function decodeBatchData(bytes: Uint8Array): BatchData {
  const reader = new ByteReader(bytes);
  if (reader.u32() !== MAGIC || reader.u8() !== FORMAT) throw new MalformedBytes("not batch data of format 1", "9");
  const height = reader.u64();
  if (height === 0n) throw new MalformedBytes("height zero", "9");
  const count = reader.u32();
  if (count === 0 || count > MAX_RECEIPTS_PER_BATCH) throw new MalformedBytes(`${count} receipts`, "9");
  const receipts: (CommittedReceipt | null)[] = [];
  for (let i = 0; i < count; i++) receipts.push(readReceipt(reader));
  const snapshot = height % SNAPSHOT_INTERVAL === 0n ? readSnapshot(reader) : null;
  reader.end();
  return { height, receipts, snapshot };
}

function receiptBytes(receipt: CommittedReceipt | null): number {
  if (!receipt) return 1;
  return 1 + 2 + 32 + (receipt.length === receipt.body.length ? 0 : 2) + receipt.body.length;
}

function readReceipt(reader: ByteReader): CommittedReceipt | null {
  const kind = reader.u8();
  if (kind === VACANT) return null;
  if (kind !== HONEST && kind !== LENGTH_CLAIMED) throw new MalformedBytes(`receipt of kind ${kind}`, "9");
  const bodyLength = reader.u16();
  const stateRoot = reader.raw(32);
  const length = kind === HONEST ? bodyLength : reader.u16();
  if (kind === LENGTH_CLAIMED && length === bodyLength) throw new MalformedBytes("a needless claim of length", "9");
  return { length, stateRoot, body: reader.raw(bodyLength) };
}
