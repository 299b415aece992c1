import { closeSync, fsyncSync, ftruncateSync, openSync, renameSync, rmSync, writeSync } from "node:fs";

export interface FloatTensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

/** A tensor that need not be in memory as a whole. */
export interface StreamedTensor {
  readonly name: string;
  readonly shape: readonly number[];
  /** Its values in order, in pieces of any length that may share one buffer; null: zeros, a hole in the file. */
  readonly pieces: (() => Iterable<Float32Array>) | null;
}

/**
 * Writes float32 tensors as a safetensors file, atomically: the path holds the old file or the whole new one.
 *
 * The same tensors in the same order give the same bytes.
 * @throws if two tensors have one name, or a shape does not hold its values.
 */
export function writeSafetensors(
  path: string,
  tensors: readonly FloatTensor[],
  metadata?: Readonly<Record<string, string>>,
): void {
  for (const { name, shape, data } of tensors) {
    if (sizeOf(shape) !== data.length) throw wrongSize(name, shape, data.length);
  }
  const streamed = tensors.map(({ name, shape, data }) => ({ name, shape, pieces: () => [data] }));
  streamSafetensors(path, streamed, metadata);
}

/** As {@link writeSafetensors}, one piece in memory at a time: gigabytes can be written on a small machine. */
export function streamSafetensors(
  path: string,
  tensors: readonly StreamedTensor[],
  metadata: Readonly<Record<string, string>> = { format: "pt" },
): void {
  const header: Record<string, unknown> = { __metadata__: metadata };
  let end = 0;
  const starts = tensors.map(({ name, shape }) => {
    if (Object.hasOwn(header, name)) throw new Error(`Tensor ${name} stands twice.`);
    const start = end;
    header[name] = { dtype: "F32", shape, data_offsets: [start, (end += sizeOf(shape) * 4)] };
    return start;
  });
  const json = new TextEncoder().encode(JSON.stringify(header));
  // Data starts at a multiple of eight, padded with spaces as the format asks.
  const padded = new Uint8Array(8 + Math.ceil(json.length / 8) * 8).fill(0x20);
  new DataView(padded.buffer).setBigUint64(0, BigInt(padded.length - 8), true);
  padded.set(json, 8);
  const draft = `${path}.${process.pid}.draft`;
  try {
    const fd = openSync(draft, "w");
    try {
      writeAt(fd, padded, 0);
      for (const [index, { name, shape, pieces }] of tensors.entries()) {
        const start = padded.length + starts[index];
        let at = start;
        for (const piece of pieces?.() ?? []) {
          at = writeAt(fd, new Uint8Array(piece.buffer, piece.byteOffset, piece.byteLength), at);
        }
        if (pieces !== null && at !== start + sizeOf(shape) * 4) throw wrongSize(name, shape, (at - start) / 4);
      }
      ftruncateSync(fd, padded.length + end);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(draft, path);
  } catch (error) {
    rmSync(draft, { force: true });
    throw error;
  }
}

function sizeOf(shape: readonly number[]): number {
  return shape.reduce((total, size) => total * size, 1);
}

function wrongSize(name: string, shape: readonly number[], values: number): Error {
  return new Error(`Tensor ${name}: shape [${shape}] does not hold ${values} values.`);
}

/** Returns the position after the last byte. */
function writeAt(fd: number, bytes: Uint8Array, position: number): number {
  for (let done = 0; done < bytes.length; ) {
    done += writeSync(fd, bytes, done, Math.min(bytes.length - done, 1 << 30), position + done);
  }
  return position + bytes.length;
}
