/**
 * Writes GGUF files (version 3, little-endian), the format of llama.cpp: a header, key-value pairs, tensor
 * descriptions, and the tensors' bytes at multiples of 32. Layout after `docs/gguf.md` of the ggml repository.
 */
import { closeSync, openSync, writeSync } from "node:fs";

/** A metadata value with its type, which GGUF stores beside it. */
export type GgufValue =
  | { readonly type: "uint32" | "int32" | "float32"; readonly value: number }
  | { readonly type: "bool"; readonly value: boolean }
  | { readonly type: "string"; readonly value: string }
  | { readonly type: "strings"; readonly value: readonly string[] }
  | { readonly type: "int32s"; readonly value: readonly number[] };

export type GgufTensorType = "f32" | "q4_0";

/** A matrix as `[rows, columns]` or a vector as `[columns]`; q4_0 needs columns in multiples of 32. */
export interface GgufTensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly type: GgufTensorType;
  /** The values, made when they are written: one tensor is in memory at a time. */
  readonly values: () => Float32Array;
}

const ALIGNMENT = 32;
const TENSOR_TYPES: Record<GgufTensorType, number> = { f32: 0, q4_0: 2 };
const VALUE_TYPES = { uint32: 4, int32: 5, float32: 6, bool: 7, string: 8, array: 9 } as const;
/** Weights per q4_0 block, and its bytes: a float16 scale and 16 pairs of codes. */
const Q4_BLOCK = 32;
const Q4_BYTES = 18;

/** Grows as it is written to; numbers little-endian, texts with their length in front. */
class ByteWriter {
  private bytes = Buffer.alloc(1 << 16);
  private length = 0;

  get position(): number {
    return this.length;
  }

  uint32(value: number): void {
    this.room(4).writeUInt32LE(value, this.length);
    this.length += 4;
  }

  uint64(value: number): void {
    this.room(8).writeBigUInt64LE(BigInt(value), this.length);
    this.length += 8;
  }

  string(text: string): void {
    const encoded = Buffer.from(text);
    this.uint64(encoded.length);
    encoded.copy(this.room(encoded.length), this.length);
    this.length += encoded.length;
  }

  value(value: GgufValue): void {
    switch (value.type) {
      case "strings":
      case "int32s":
        this.uint32(VALUE_TYPES.array);
        this.uint32(value.type === "strings" ? VALUE_TYPES.string : VALUE_TYPES.int32);
        this.uint64(value.value.length);
        for (const item of value.value) typeof item === "string" ? this.string(item) : this.int32(item);
        return;
      case "string":
        this.uint32(VALUE_TYPES.string);
        this.string(value.value);
        return;
      case "bool":
        this.uint32(VALUE_TYPES.bool);
        this.room(1).writeUInt8(value.value ? 1 : 0, this.length++);
        return;
      case "float32":
        this.uint32(VALUE_TYPES.float32);
        this.room(4).writeFloatLE(value.value, this.length);
        this.length += 4;
        return;
      default:
        this.uint32(VALUE_TYPES[value.type]);
        this.int32(value.value);
    }
  }

  padTo(multiple: number): void {
    const end = Math.ceil(this.length / multiple) * multiple;
    this.room(end - this.length).fill(0, this.length, end);
    this.length = end;
  }

  finish(): Buffer {
    return this.bytes.subarray(0, this.length);
  }

  private int32(value: number): void {
    this.room(4).writeInt32LE(value | 0, this.length);
    this.length += 4;
  }

  private room(size: number): Buffer {
    if (this.length + size > this.bytes.length) {
      const larger = Buffer.alloc(Math.max(this.bytes.length * 2, this.length + size));
      this.bytes.copy(larger, 0, 0, this.length);
      this.bytes = larger;
    }
    return this.bytes;
  }
}

/** Bytes that a tensor takes in the file, without padding. */
export function tensorBytes({ shape, type }: Pick<GgufTensor, "shape" | "type">): number {
  const count = shape.reduce((product, size) => product * size, 1);
  return type === "f32" ? count * 4 : (count / Q4_BLOCK) * Q4_BYTES;
}

/**
 * Writes a GGUF file.
 *
 * @throws RangeError when the columns of a q4_0 tensor are not a multiple of 32, or values are missing
 */
export function writeGguf(
  path: string,
  metadata: Readonly<Record<string, GgufValue>>,
  tensors: readonly GgufTensor[],
): void {
  const header = new ByteWriter();
  header.uint32(0x46554747);
  header.uint32(3);
  header.uint64(tensors.length);
  header.uint64(Object.keys(metadata).length);
  for (const [key, value] of Object.entries(metadata)) {
    header.string(key);
    header.value(value);
  }
  let offset = 0;
  for (const { name, shape, type } of tensors) {
    const columns = shape[shape.length - 1];
    if (type === "q4_0" && columns % Q4_BLOCK !== 0) throw new RangeError(`${name}: ${columns} columns in q4_0`);
    header.string(name);
    header.uint32(shape.length);
    // ggml counts dimensions from the fastest one.
    for (const size of [...shape].reverse()) header.uint64(size);
    header.uint32(TENSOR_TYPES[type]);
    header.uint64(offset);
    offset += aligned(tensorBytes({ shape, type }));
  }
  header.padTo(ALIGNMENT);
  const file = openSync(path, "w");
  try {
    let at = header.position;
    writeAll(file, header.finish(), 0);
    for (const tensor of tensors) {
      const values = tensor.values();
      if (values.length !== tensor.shape.reduce((product, size) => product * size, 1)) {
        throw new RangeError(`${tensor.name}: ${values.length} values for [${tensor.shape}]`);
      }
      const bytes =
        tensor.type === "f32" ? new Uint8Array(values.buffer, values.byteOffset, values.byteLength) : q4(values);
      writeAll(file, bytes, at);
      at += aligned(bytes.length);
    }
    // The last tensor is padded too: readers map whole aligned ranges.
    if (at > header.position) writeSync(file, Buffer.alloc(1), 0, 1, at - 1);
  } finally {
    closeSync(file);
  }
}

/**
 * ggml's q4_0: per 32 weights a float16 scale d = extreme / −8 and codes round(w / d) + 8; byte i holds weight i in
 * its low half and weight i + 16 in its high half.
 */
export function q4(weights: Float32Array): Uint8Array {
  const blocks = weights.length / Q4_BLOCK;
  const out = new Uint8Array(blocks * Q4_BYTES);
  const view = new DataView(out.buffer);
  for (let block = 0; block < blocks; block++) {
    const start = block * Q4_BLOCK;
    let extreme = 0;
    for (let i = start; i < start + Q4_BLOCK; i++) if (Math.abs(weights[i]) > Math.abs(extreme)) extreme = weights[i];
    const at = block * Q4_BYTES;
    view.setFloat16(at, extreme / -8, true);
    const inverse = extreme === 0 ? 0 : -8 / extreme;
    for (let i = 0; i < 16; i++) {
      out[at + 2 + i] = code(weights[start + i] * inverse) | (code(weights[start + i + 16] * inverse) << 4);
    }
  }
  return out;
}

function code(scaled: number): number {
  return Math.min(15, Math.max(0, Math.floor(scaled + 8.5)));
}

function aligned(bytes: number): number {
  return Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
}

function writeAll(file: number, bytes: Uint8Array, position: number): void {
  for (let done = 0; done < bytes.length; ) {
    done += writeSync(file, bytes, done, Math.min(bytes.length - done, 1 << 30), position + done);
  }
}
