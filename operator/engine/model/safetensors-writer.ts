import { closeSync, fsyncSync, openSync, renameSync, rmSync, writeSync } from "node:fs";

export interface FloatTensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

/**
 * Writes float32 tensors as a safetensors file, atomically: the path holds the old file or the whole new one.
 *
 * The same tensors in the same order give the same bytes.
 */
export function writeSafetensors(
  path: string,
  tensors: readonly FloatTensor[],
  metadata: Readonly<Record<string, string>> = { format: "pt" },
): void {
  const header: Record<string, unknown> = { __metadata__: metadata };
  let offset = 0;
  for (const { name, shape, data } of tensors) {
    if (shape.reduce((total, size) => total * size, 1) !== data.length) {
      throw new Error(`Tensor ${name}: shape [${shape}] does not hold ${data.length} values.`);
    }
    if (Object.hasOwn(header, name)) throw new Error(`Tensor ${name} stands twice.`);
    header[name] = { dtype: "F32", shape, data_offsets: [offset, (offset += data.byteLength)] };
  }
  const json = new TextEncoder().encode(JSON.stringify(header));
  // Data starts at a multiple of eight, padded with spaces as the format asks.
  const padded = new Uint8Array(8 + Math.ceil(json.length / 8) * 8).fill(0x20);
  new DataView(padded.buffer).setBigUint64(0, BigInt(padded.length - 8), true);
  padded.set(json, 8);
  const draft = `${path}.${process.pid}.draft`;
  try {
    const fd = openSync(draft, "w");
    try {
      writeAll(fd, padded);
      for (const { data } of tensors) writeAll(fd, new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
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

function writeAll(fd: number, bytes: Uint8Array): void {
  for (let done = 0; done < bytes.length; ) {
    done += writeSync(fd, bytes, done, Math.min(bytes.length - done, 1 << 30));
  }
}
