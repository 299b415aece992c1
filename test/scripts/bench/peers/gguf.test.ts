import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { type GgufValue, q4, tensorBytes, writeGguf } from "../../../../scripts/bench/peers/gguf.ts";
import { ggufAdapter, ggufModel } from "../../../../scripts/bench/peers/gguf-model.ts";
import { fillUniform } from "../../../../scripts/bench/random.ts";
import { modelTensors, SHAPES } from "../../../../scripts/bench/shapes.ts";

interface ReadTensor {
  readonly dims: number[];
  readonly type: number;
  readonly start: number;
}

/** A second reading of the format, written from its description and not from the writer. */
function readGguf(bytes: Buffer) {
  let at = 0;
  const u32 = () => bytes.readUInt32LE((at += 4) - 4);
  const u64 = () => Number(bytes.readBigUInt64LE((at += 8) - 8));
  const text = () => {
    const length = u64();
    return bytes.toString("utf8", at, (at += length));
  };
  const scalar = (type: number): unknown => {
    if (type === 4) return u32();
    if (type === 5) return bytes.readInt32LE((at += 4) - 4);
    if (type === 6) return bytes.readFloatLE((at += 4) - 4);
    if (type === 7) return bytes.readUInt8(at++) === 1;
    if (type === 8) return text();
    assert.equal(type, 9, "a known type");
    const inner = u32();
    return Array.from({ length: u64() }, () => scalar(inner));
  };
  assert.equal(bytes.toString("latin1", 0, 4), "GGUF");
  at = 4;
  assert.equal(u32(), 3);
  const tensorCount = u64();
  const metadata = new Map<string, unknown>();
  for (let left = u64(); left > 0; left--) metadata.set(text(), scalar(u32()));
  const tensors = new Map<string, ReadTensor>();
  for (let i = 0; i < tensorCount; i++) {
    const name = text();
    const dims = Array.from({ length: u32() }, u64);
    tensors.set(name, { dims, type: u32(), start: u64() });
  }
  const data = Math.ceil(at / 32) * 32;
  return { metadata, tensors: new Map([...tensors].map(([name, t]) => [name, { ...t, start: t.start + data }])) };
}

function floats(bytes: Buffer, { dims, start }: ReadTensor): Float32Array {
  const count = dims.reduce((product, size) => product * size, 1);
  return new Float32Array(bytes.buffer.slice(bytes.byteOffset + start, bytes.byteOffset + start + count * 4));
}

test("what is written as GGUF is read back: values of every type, tensors at multiples of 32", () => {
  const folder = mkdtempSync(join(tmpdir(), "gguf-"));
  const path = join(folder, "a.gguf");
  const metadata: Record<string, GgufValue> = {
    a: { type: "uint32", value: 4_000_000_000 },
    b: { type: "float32", value: 0.5 },
    c: { type: "string", value: "Ġä🎈" },
    d: { type: "strings", value: ["x", ""] },
    e: { type: "int32s", value: [1, -3] },
    f: { type: "bool", value: true },
  };
  const one = Float32Array.of(1, 2, 3);
  const two = Float32Array.of(4, 5, 6, 7, 8, 9);
  writeGguf(path, metadata, [
    { name: "one", shape: [3], type: "f32", values: () => one },
    { name: "two", shape: [2, 3], type: "f32", values: () => two },
  ]);
  const bytes = readFileSync(path);
  const read = readGguf(bytes);
  rmSync(folder, { recursive: true });
  assert.deepEqual([...read.metadata.values()], [4_000_000_000, 0.5, "Ġä🎈", ["x", ""], [1, -3], true]);
  const second = read.tensors.get("two") as ReadTensor;
  assert.deepEqual(second.dims, [3, 2], "the fastest dimension first");
  assert.equal(second.start % 32, 0);
  assert.deepEqual([...floats(bytes, second)], [...two]);
  assert.equal(bytes.length, second.start + 32);
});

test("q4_0 keeps every weight within half a step of its block's scale", () => {
  const weights = new Float32Array(32 * 50);
  fillUniform(weights, 7, 0, 0.3);
  const bytes = q4(weights);
  assert.equal(bytes.length, tensorBytes({ shape: [50, 32], type: "q4_0" }));
  const view = new DataView(bytes.buffer);
  for (let block = 0; block < 50; block++) {
    const scale = view.getFloat16(block * 18, true);
    for (let i = 0; i < 32; i++) {
      const packed = bytes[block * 18 + 2 + (i % 16)];
      const value = (((packed >> (i < 16 ? 0 : 4)) & 15) - 8) * scale;
      const error = Math.abs(value - weights[block * 32 + i]);
      // The code of +8 does not exist, so the end opposite to the extreme may be a whole step away.
      assert.ok(error <= Math.abs(scale) * 1.01, `block ${block}, weight ${i}: ${error} for a step of ${scale}`);
      if (Math.abs(weights[block * 32 + i]) < 7 * Math.abs(scale)) assert.ok(error <= Math.abs(scale) * 0.51);
    }
  }
});

test("a model's GGUF file holds all of its weights, queries with the halves of each head interleaved", () => {
  const s = SHAPES.tiny;
  const bytes = readFileSync(ggufModel("tiny", "f32"));
  const { metadata, tensors } = readGguf(bytes);
  const sources = modelTensors(s, 1);
  assert.equal(tensors.size, sources.length);
  assert.equal((metadata.get("tokenizer.ggml.tokens") as string[]).length, s.vocab);
  assert.equal(metadata.get("llama.attention.head_count_kv"), s.kvHeads);
  const source = (name: string) => {
    const found = sources.find((tensor) => tensor.name === name);
    return [...(found?.pieces?.() ?? [])].flatMap((piece) => [...piece]);
  };
  const down = floats(bytes, tensors.get("blk.1.ffn_down.weight") as ReadTensor);
  assert.deepEqual([...down], source("model.layers.1.mlp.down_proj.weight"));
  const query = floats(bytes, tensors.get("blk.0.attn_q.weight") as ReadTensor);
  const original = source("model.layers.0.self_attn.q_proj.weight");
  const headDim = s.hidden / s.heads;
  const row = (values: ArrayLike<number>, index: number) =>
    Array.from({ length: s.hidden }, (_, i) => values[index * s.hidden + i]);
  // Second head: Hugging Face's rows 0 and headDim / 2 of it turn together; here they stand side by side.
  assert.deepEqual(row(query, headDim), row(original, headDim));
  assert.deepEqual(row(query, headDim + 1), row(original, headDim + headDim / 2));
  assert.deepEqual(row(query, headDim + 2), row(original, headDim + 1));
});

test("an adapter's GGUF file names the factors as llama.cpp looks for them, with alpha", () => {
  const { metadata, tensors } = readGguf(readFileSync(ggufAdapter("tiny", 3, { rank: 4, alpha: 12 })));
  assert.equal(metadata.get("adapter.lora.alpha"), 12);
  assert.equal(metadata.get("general.type"), "adapter");
  assert.deepEqual(tensors.get("blk.0.attn_k.weight.lora_a")?.dims, [SHAPES.tiny.hidden, 4]);
  assert.deepEqual(tensors.get("blk.1.ffn_down.weight.lora_b")?.dims, [4, SHAPES.tiny.hidden]);
  assert.equal(tensors.size, 2 * 7 * 2);
});
