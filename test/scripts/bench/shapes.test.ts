import assert from "node:assert/strict";
import { readFileSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { Tokenizer } from "@huggingface/tokenizers";
import { xorshift32, zipf } from "../../../scripts/bench/random.ts";
import { adapterFolder, modelFolder, parameterCount, SHAPES } from "../../../scripts/bench/shapes.ts";

const json = (path: string) => JSON.parse(readFileSync(path, "utf8"));

function header(path: string): Record<string, { dtype: string; shape: number[]; data_offsets: [number, number] }> {
  const bytes = readFileSync(path);
  const parsed = JSON.parse(bytes.subarray(8, 8 + Number(bytes.readBigUInt64LE(0))).toString());
  delete parsed.__metadata__;
  return parsed;
}

test("a model folder holds every tensor of its shape, without gaps, and the same bytes each time", () => {
  const folder = modelFolder("tiny", 77);
  const path = join(folder, "model.safetensors");
  const first = readFileSync(path);
  let end = 0;
  let values = 0;
  for (const { shape, data_offsets } of Object.values(header(path))) {
    assert.equal(data_offsets[0], end);
    end = data_offsets[1];
    values += shape.reduce((a, b) => a * b, 1);
  }
  assert.equal(values, parameterCount(SHAPES.tiny));
  assert.equal(first.length, 8 + Number(first.readBigUInt64LE(0)) + end);
  rmSync(folder, { recursive: true });
  assert.deepEqual(readFileSync(join(modelFolder("tiny", 77), "model.safetensors")), first);
  rmSync(folder, { recursive: true });
});

test("the real shapes have the parameters of the models they stand for", () => {
  assert.equal(parameterCount(SHAPES["135m"]), 134_515_008);
  assert.equal(parameterCount(SHAPES["500m"]), 494_032_768);
  assert.equal(parameterCount(SHAPES["15m"]), 15_191_712);
});

test("the generated tokenizer covers the vocabulary and gives text back unchanged", () => {
  const folder = modelFolder("tiny");
  const tokenizer = new Tokenizer(json(join(folder, "tokenizer.json")), json(join(folder, "tokenizer_config.json")));
  const text = "bababa kone Äpfel 東京 🎈 1 + 1 = 2";
  const ids = tokenizer.encode(text).ids;
  assert.equal(tokenizer.decode(ids), text);
  assert.ok(ids.length < Buffer.byteLength(text), "merges are used");
  assert.equal(Object.keys(json(join(folder, "tokenizer.json")).model.vocab).length, SHAPES.tiny.vocab);
});

test("adapter folders differ by index and may leave late layers as zeros", () => {
  const folders = [0, 1].map((index) => adapterFolder("tiny", index, { rank: 4, denseLayers: 1 }));
  const [first, second] = folders.map((folder) => readFileSync(join(folder, "adapter_model.safetensors")));
  assert.notDeepEqual(first, second);
  const tensors = header(join(folders[0], "adapter_model.safetensors"));
  assert.equal(Object.keys(tensors).length, 2 * 7 * 2);
  const start = 8 + Number(first.readBigUInt64LE(0));
  const bytes = (name: string) =>
    first.subarray(start + tensors[name].data_offsets[0], start + tensors[name].data_offsets[1]);
  assert.ok(bytes("base_model.model.model.layers.0.mlp.up_proj.lora_B.weight").some((byte) => byte !== 0));
  assert.ok(bytes("base_model.model.model.layers.1.mlp.up_proj.lora_B.weight").every((byte) => byte === 0));
  assert.equal(statSync(join(folders[0], "adapter_model.safetensors")).size, first.length);
});

test("Zipf draws rank 0 about twice as often as rank 1", () => {
  const draw = zipf(1000, 1, xorshift32(5));
  const counts = new Array(1000).fill(0);
  for (let i = 0; i < 40_000; i++) counts[draw()]++;
  assert.ok(Math.abs(counts[0] / counts[1] - 2) < 0.15, `${counts[0]} and ${counts[1]}`);
  assert.ok(counts[0] / 40_000 > 0.12 && counts[0] / 40_000 < 0.145);
});
