import { closeSync, ftruncateSync, openSync, writeSync } from "node:fs";

/** One tensor of a file that is written piece by piece. `fill` null leaves zeros, as a hole where the disk allows it. */
export interface StreamedTensor {
  name: string;
  dtype: "F32" | "BF16";
  shape: number[];
  /** Yields the tensor's values in order, in pieces of any length; the pieces may share one buffer. */
  fill: (() => Iterable<Float32Array>) | null;
}

/** Rounds towards zero to bfloat16: the upper half of each float32. */
function upperHalves(values: Float32Array): Uint16Array {
  const words = new Uint16Array(values.buffer, values.byteOffset, values.length * 2);
  const out = new Uint16Array(values.length);
  for (let i = 0; i < out.length; i++) out[i] = words[i * 2 + 1];
  return out;
}

/**
 * Writes a safetensors file without holding it in memory, so that gigabytes can be made on a small machine.
 *
 * @returns bytes of the file
 */
export function streamSafetensors(path: string, tensors: StreamedTensor[]): number {
  const header: Record<string, object> = { __metadata__: { format: "pt" } };
  let end = 0;
  const starts = tensors.map(({ name, dtype, shape }) => {
    const start = end;
    end += shape.reduce((product, size) => product * size, 1) * (dtype === "F32" ? 4 : 2);
    header[name] = { dtype, shape, data_offsets: [start, end] };
    return start;
  });
  const text = JSON.stringify(header);
  const json = Buffer.from(text.padEnd(Math.ceil(text.length / 8) * 8));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  const base = 8 + json.length;
  const file = openSync(path, "w");
  try {
    writeSync(file, Buffer.concat([length, json]), 0, base, 0);
    for (const [index, { dtype, fill }] of tensors.entries()) {
      let at = base + starts[index];
      for (const piece of fill?.() ?? []) {
        const values = dtype === "F32" ? piece : upperHalves(piece);
        at += writeSync(file, values, 0, values.byteLength, at);
      }
    }
    ftruncateSync(file, base + end);
  } finally {
    closeSync(file);
  }
  return base + end;
}
