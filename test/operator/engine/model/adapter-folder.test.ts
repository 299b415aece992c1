import assert from "node:assert/strict";
import { copyFileSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { adapterHash, readAdapter } from "../../../../operator/engine/model/adapter-folder.ts";
import { writeAdapter } from "../../../../operator/engine/model/adapter-writer.ts";
import { readModelConfig } from "../../../../operator/engine/model/config.ts";
import type { ModelConfig } from "../../../../operator/engine/model/config-types.ts";
import { ModelFormatError } from "../../../../operator/engine/model/format-error.ts";
import { LORA_TARGETS, targetShape } from "../../../../operator/engine/model/lora.ts";
import { modulePath } from "../../../../operator/engine/model/model-weights.ts";
import { SafetensorsFile } from "../../../../operator/engine/model/safetensors.ts";
import { type FloatTensor, writeSafetensors } from "../../../../operator/engine/model/safetensors-writer.ts";
import { TINY, tinyAdapter } from "../adapters/tiny-adapter.ts";
import { randomAdapter, randomModel, seededRandom, temporaryFolder } from "../reference/random-model.ts";

const model = randomModel();
const config = readModelConfig(model.folder);
const plain = randomAdapter(model, { rank: 2, targets: ["q_proj", "down_proj"] });
const plainConfig = JSON.parse(readFileSync(join(plain.folder, "adapter_config.json"), "utf8"));

/** The plain adapter with another configuration. */
function withConfig(overrides: Record<string, unknown>): string {
  const folder = temporaryFolder();
  copyFileSync(join(plain.folder, "adapter_model.safetensors"), join(folder, "adapter_model.safetensors"));
  writeFileSync(join(folder, "adapter_config.json"), JSON.stringify({ ...plainConfig, ...overrides }));
  return folder;
}

/** The plain adapter with other tensors. */
function withTensors(edit: (tensors: FloatTensor[]) => FloatTensor[]): string {
  const folder = temporaryFolder();
  copyFileSync(join(plain.folder, "adapter_config.json"), join(folder, "adapter_config.json"));
  const tensors: FloatTensor[] = [];
  for (const [path, { a, b, rank }] of plain.modules) {
    const prefix = `base_model.model.${path}`;
    tensors.push({ name: `${prefix}.lora_A.weight`, shape: [rank, a.length / rank], data: a.slice() });
    tensors.push({ name: `${prefix}.lora_B.weight`, shape: [b.length / rank, rank], data: b.slice() });
  }
  writeSafetensors(join(folder, "adapter_model.safetensors"), edit(tensors));
  return folder;
}

const refuses = (folder: string, message: RegExp) =>
  assert.throws(
    () => readAdapter(folder, config),
    (error) => error instanceof ModelFormatError && message.test(error.message),
  );

test("factors come out transposed, scaled and under their layer and target", () => {
  const adapter = readAdapter(plain.folder, config);
  assert.equal(adapter.rank, 2);
  assert.equal(adapter.layers.length, 2);
  const { a, b, rank, scale } = plain.modules.get("model.layers.1.self_attn.q_proj")!;
  const factors = adapter.layers[1].q_proj!;
  assert.deepEqual(factors.a, a);
  for (let k = 0; k < rank; k++) {
    for (let i = 0; i < 64; i++) assert.equal(factors.b[k * 64 + i], Math.fround(b[i * rank + k] * scale));
  }
  assert.deepEqual(Object.keys(adapter.layers[0]).sort(), ["down_proj", "q_proj"]);
  assert.equal(adapter.bytes, 2 * 4 * (2 * (64 + 64) + 2 * (96 + 64)));
});

test("all factors lie in one buffer, which another thread can take over", () => {
  const { layers } = readAdapter(plain.folder, config);
  const factors = layers.flatMap((layer) => Object.values(layer)).flatMap(({ a, b }) => [a, b]);
  const buffers = new Set(factors.map(({ buffer }) => buffer as ArrayBuffer));
  assert.equal(buffers.size, 1);
  structuredClone(null, { transfer: [...buffers] });
  assert.ok(factors.every(({ length }) => length === 0));
});

test("values up to the bound are read, however many of them there are", () => {
  const large = withTensors((tensors) => {
    for (const { data } of tensors) data.fill(9999 / (plainConfig.lora_alpha / plainConfig.r));
    tensors[0].data.fill(-1e4);
    return tensors;
  });
  const [{ q_proj }] = readAdapter(large, config).layers;
  assert.ok(q_proj!.a.every((value) => value === -1e4) && q_proj!.b.every((value) => Math.abs(value - 9999) < 0.01));
  const above = withTensors((tensors) => {
    tensors[0].data[1] = 10_000.001;
    return tensors;
  });
  refuses(above, /holds 10000.0009765625, scale included/);
});

/** Compares an adapter of tinyAdapter, whose scale is 2, with its file read tensor by tensor. */
function equalsPlainReading(folder: string, shapes: ModelConfig, rank: number): void {
  const adapter = readAdapter(folder, shapes);
  const file = SafetensorsFile.open(join(folder, "adapter_model.safetensors"));
  for (const [layer, factors] of adapter.layers.entries()) {
    for (const target of LORA_TARGETS) {
      const [outputs, inputs] = targetShape(shapes, target);
      const name = `base_model.model.model.${modulePath(layer, target)}`;
      assert.deepEqual(factors[target]!.a, file.readFloats(`${name}.lora_A.weight`, [rank, inputs]));
      const b = file.readFloats(`${name}.lora_B.weight`, [outputs, rank]);
      const turned = factors[target]!.b.map((_, i) => 2 * b[(i % outputs) * rank + Math.floor(i / outputs)]);
      assert.deepEqual(factors[target]!.b, turned);
    }
  }
  file.close();
}

/** Stores a folder's tensors in another type, their first byte at any place. */
function restored(folder: string, dtype: "F32" | "F16" | "BF16", shift: number): string {
  const path = join(folder, "adapter_model.safetensors");
  const bytes = readFileSync(path);
  const length = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.toString("utf8", 8, 8 + length));
  const parts: Buffer[] = [];
  let at = 0;
  for (const [name, entry] of Object.entries<{ dtype: string; data_offsets: number[] }>(header)) {
    if (name === "__metadata__") continue;
    const [start, end] = entry.data_offsets;
    const part = Buffer.from(bytes.subarray(8 + length + start, 8 + length + end));
    const values = new Float32Array(part.buffer, part.byteOffset, part.length / 4);
    const half = Uint16Array.from(values, (value) => (dtype === "F16" ? halfBits(value) : floatBits(value) >>> 16));
    parts.push(dtype === "F32" ? part : Buffer.from(half.buffer));
    entry.dtype = dtype;
    entry.data_offsets = [at, (at += parts.at(-1)!.length)];
  }
  const json = JSON.stringify(header);
  const padded = json.padEnd(Math.ceil(json.length / 8) * 8 + shift);
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(BigInt(padded.length));
  writeFileSync(path, Buffer.concat([prefix, Buffer.from(padded), ...parts]));
  return folder;
}

function floatBits(value: number): number {
  return new Uint32Array(Float32Array.of(value).buffer)[0];
}

/** Of a value that a half float holds exactly and that is not subnormal. */
function halfBits(value: number): number {
  const bits = floatBits(value);
  if (value === 0) return 0;
  return ((bits >>> 16) & 0x8000) | ((((bits >>> 23) & 255) - 112) << 10) | ((bits >>> 13) & 1023);
}

test("every rank, type and place in the file gives the numbers of a plain reading", () => {
  for (const rank of [1, 4, 6, 16]) {
    for (const shift of [0, 1, 2]) {
      for (const dtype of ["F32", "F16", "BF16"] as const) {
        const folder = tinyAdapter(temporaryFolder(), rank, { rank, step: 1 / 64 });
        equalsPlainReading(restored(folder, dtype, shift), TINY, rank);
      }
    }
  }
});

test("files and tensors larger than what is read at once are read whole", () => {
  const wide = { ...TINY, hiddenSize: 512, intermediateSize: 3000, heads: 8, headDim: 64 };
  const folder = tinyAdapter(temporaryFolder(), 3, { rank: 64, config: wide });
  equalsPlainReading(folder, wide, 64);
  assert.equal(readAdapter(folder, wide).hash, adapterHash(folder));
});

test("an adapter is read into memory that is given for it, where that has the right size", () => {
  const [first, second] = [1, 2].map((seed) => readAdapter(tinyAdapter(temporaryFolder(), seed), TINY));
  const folder = tinyAdapter(temporaryFolder(), 2);
  const spare = first.layers[0].q_proj!.a.buffer as ArrayBuffer;
  const read = readAdapter(folder, TINY, { spare });
  assert.equal(read.layers[0].q_proj!.a.buffer, spare);
  assert.deepEqual(read, second);
  const small = new ArrayBuffer(spare.byteLength - 4);
  assert.deepEqual(readAdapter(folder, TINY, { spare: small }), second);
});

test("the hash follows content, not names", () => {
  const hash = readAdapter(plain.folder, config).hash;
  assert.equal(adapterHash(plain.folder), hash);
  assert.equal(readAdapter(withConfig({}), config).hash, hash);
  assert.notEqual(readAdapter(withConfig({ lora_alpha: 9 }), config).hash, hash);
  const changed = withTensors((tensors) => {
    tensors[0].data[0] += 1;
    return tensors;
  });
  assert.notEqual(readAdapter(changed, config).hash, hash);
});

const CONFIGS: [Record<string, unknown>, RegExp][] = [
  [{ use_dora: true }, /use_dora is not supported/],
  [{ bias: "all" }, /bias "all" is not supported/],
  [{ lora_bias: true }, /lora_bias is not supported/],
  [{ modules_to_save: ["lm_head"] }, /modules_to_save is not supported/],
  [{ fan_in_fan_out: true }, /fan_in_fan_out is not supported/],
  [{ layer_replication: [[0, 1]] }, /layer_replication is not supported/],
  [{ trainable_token_indices: [1] }, /trainable_token_indices is not supported/],
  [{ init_lora_weights: "pissa" }, /init_lora_weights changes the base model/],
  [{ peft_type: "IA3" }, /peft_type "IA3" is not LORA/],
  [{ r: 0 }, /r 0 is not between/],
  [{ r: 1e9 }, /r 1000000000 is not between/],
  [{ r: 3 }, /is \[2,64\], expected \[3,64\]/],
  [{ lora_alpha: "8" }, /lora_alpha must be a number/],
  [{ lora_alpha: 1e6 }, /scale included/],
  [{ target_modules: [] }, /target_modules names nothing/],
  [{ target_modules: undefined }, /target_modules names nothing/],
  [{ target_modules: ["q_proj"] }, /holds layers.0.mlp.down_proj, which adapter_config.json does not target/],
  [{ target_modules: ["q_proj", "down_proj", "v_proj"] }, /targets model.layers.0.self_attn.v_proj, but the weights/],
  [{ target_modules: ["q_proj", "down_proj", "c_attn"] }, /targets c_attn, which matches nothing/],
  [{ target_modules: ["query_key_value"] }, /does not target/],
  [{ exclude_modules: ["q_proj"] }, /does not target/],
  [{ layers_to_transform: [0] }, /does not target/],
  [{ layers_to_transform: "0" }, /must be a layer or a list of layers/],
  [{ rank_pattern: { "q_(proj|x)": 4 } }, /is a pattern that is not supported/],
  [{ rank_pattern: { q_proj: 3 } }, /expected \[3,64\]/],
  [{ alpha_pattern: { q_proj: "1" } }, /alpha_pattern.q_proj must be a number/],
];

for (const [overrides, message] of CONFIGS) {
  test(`adapter refused: ${JSON.stringify(overrides)}`, () => refuses(withConfig(overrides), message));
}

test("settings that change nothing are accepted", () => {
  const harmless = {
    modules_to_save: null,
    layer_replication: null,
    use_dora: false,
    megatron_config: null,
    init_lora_weights: "gaussian",
    loftq_config: {},
    lora_dropout: 0.1,
    inference_mode: false,
    layers_to_transform: [0, 1],
    target_modules: ["model.layers.0.self_attn.q_proj", "layers.1.self_attn.q_proj", "mlp.down_proj"],
  };
  assert.equal(Object.keys(readAdapter(withConfig(harmless), config).layers[1]).length, 2);
  assert.equal(readAdapter(withConfig({ target_modules: "(a+)+b|.*" }), config).rank, 2);
});

test("tensors that are alone, foreign, doubled, misshapen or not finite are refused", () => {
  refuses(
    withTensors((tensors) => tensors.slice(1)),
    /lora_B without its counterpart/,
  );
  refuses(
    withTensors((tensors) => tensors.slice(4)),
    /but the weights do not hold it/,
  );
  const renamed = (name: string) => withTensors(([first, ...rest]) => [{ ...first, name }, ...rest]);
  refuses(renamed("base_model.model.model.layers.2.self_attn.q_proj.lora_A.weight"), /the model has 2 layers/);
  refuses(renamed("base_model.model.model.layers.0.mlp.q_proj.lora_A.weight"), /no such module/);
  refuses(renamed("base_model.model.lm_head.lora_A.weight"), /not a LoRA factor of a matrix that can be adapted/);
  refuses(renamed("base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector"), /not a LoRA factor/);
  refuses(renamed("model.layers.0.self_attn.q_proj.lora_B.weight"), /stands twice/);
  refuses(
    withTensors((tensors) => tensors.map((t) => ({ ...t, shape: [...t.shape].reverse() }))),
    /expected/,
  );
  for (const value of [Number.NaN, Number.POSITIVE_INFINITY, 1e30]) {
    for (const index of [0, 1]) {
      const poisoned = withTensors((tensors) => {
        tensors[index].data[5] = value;
        return tensors;
      });
      refuses(poisoned, /holds (NaN|Infinity|1.*e\+30|.*scale included)/);
    }
  }
});

test("missing files are named", () => {
  const folder = withConfig({});
  rmSync(join(folder, "adapter_model.safetensors"));
  refuses(folder, /adapter_model.safetensors: cannot be read/);
  refuses(temporaryFolder(), /adapter_config.json: cannot be read/);
});

test("a written adapter is read back, and the same adapter gives the same bytes", () => {
  const folder = temporaryFolder();
  const layers = [0, 1].map((layer) => {
    const { a, b } = plain.modules.get(`model.layers.${layer}.self_attn.q_proj`)!;
    return { q_proj: { a, b } };
  });
  const trained = { rank: 2, alpha: 8, targets: ["q_proj"] as const, baseModel: "tiny", layers };
  writeAdapter(folder, trained);
  const hash = adapterHash(folder);
  writeAdapter(folder, trained);
  assert.equal(adapterHash(folder), hash);
  const read = readAdapter(folder, config);
  const expected = readAdapter(plain.folder, config);
  assert.deepEqual(read.layers[1].q_proj, expected.layers[1].q_proj);
  const missing = { ...trained, layers: [{}, {}] };
  assert.throws(() => writeAdapter(folder, missing), /Layer 0 has no factors for q_proj/);
});

test("three thousand mutated adapter folders are read correctly or refused, and never crash", () => {
  const folder = temporaryFolder();
  const paths = ["adapter_config.json", "adapter_model.safetensors"].map((name) => join(folder, name));
  const originals = [withConfig({ rank_pattern: { down_proj: 2 } }), plain.folder].map((source, i) =>
    readFileSync(join(source, ["adapter_config.json", "adapter_model.safetensors"][i])),
  );
  const random = seededRandom(5);
  for (const i of [0, 1]) writeFileSync(paths[i], originals[i]);
  let accepted = 0;
  for (let trial = 0; trial < 3000; trial++) {
    // First one file, then the other: only the mutated one is written again.
    const which = trial < 1500 ? 0 : 1;
    if (trial === 1500) writeFileSync(paths[0], originals[0]);
    const bytes = Buffer.from(originals[which]);
    // The header of the weights, not their numbers: those are only numbers.
    const span = which === 1 ? 8 + bytes.readUInt16LE(0) : bytes.length;
    for (let edits = 1 + Math.floor(random() * 2); edits > 0; edits--) {
      bytes[Math.floor(random() * span)] = random() < 0.5 ? 0x20 + Math.floor(random() * 96) : random() * 256;
    }
    writeFileSync(paths[which], bytes);
    try {
      const adapter = readAdapter(folder, config);
      for (const layer of adapter.layers) {
        for (const { a, b, rank } of Object.values(layer)) {
          assert.ok(rank === 2 && a.every(Number.isFinite) && b.every(Number.isFinite));
        }
      }
      accepted++;
    } catch (error) {
      assert.ok(error instanceof ModelFormatError, `trial ${trial}: ${error instanceof Error ? error.stack : error}`);
    }
  }
  assert.ok(accepted > 30 && accepted < 2900, String(accepted));
});
