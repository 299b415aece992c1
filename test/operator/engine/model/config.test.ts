import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { parseModelConfig, readModelConfig } from "../../../../operator/engine/model/config.ts";
import type { ModelConfig } from "../../../../operator/engine/model/config-types.ts";
import { ModelFormatError } from "../../../../operator/engine/model/format-error.ts";
import { CONFIG_LIMITS, JsonObject, parseJsonObject } from "../../../../operator/engine/model/json-file.ts";
import { seededRandom, TINY, temporaryFolder } from "../reference/random-model.ts";

function configOf(overrides: Record<string, unknown>): ModelConfig {
  return parseModelConfig(new JsonObject("config.json", "", { ...TINY, ...overrides }));
}

test("families differ in biases, norms and windows as their authors made them", () => {
  const llama = configOf({});
  assert.deepEqual([llama.qkvBias, llama.outputBias, llama.mlpBias, llama.qkNorm], [false, false, false, false]);
  const biased = configOf({ attention_bias: true, mlp_bias: true });
  assert.deepEqual([biased.qkvBias, biased.outputBias, biased.mlpBias], [true, true, true]);
  const qwen2 = configOf({ model_type: "qwen2", architectures: undefined, sliding_window: 8 });
  assert.deepEqual([qwen2.qkvBias, qwen2.outputBias, qwen2.windows], [true, false, [null, null]]);
  const windowed = { model_type: "qwen2", architectures: undefined, sliding_window: 8, use_sliding_window: true };
  assert.deepEqual(configOf({ ...windowed, max_window_layers: 1 }).windows, [null, 8]);
  const typed = { ...windowed, layer_types: ["sliding_attention", "full_attention"] };
  assert.deepEqual(configOf(typed).windows, [8, null]);
  const mistral = { model_type: "mistral", architectures: ["MistralForCausalLM"] };
  assert.deepEqual(configOf({ ...mistral, sliding_window: 8 }).windows, [8, 8]);
  assert.deepEqual(configOf({ ...mistral, sliding_window: null }).windows, [null, null]);
  const qwen3 = configOf({ model_type: "qwen3", architectures: undefined, head_dim: 128 });
  assert.deepEqual([qwen3.qkNorm, qwen3.headDim], [true, 128]);
});

test("rope settings are understood in the old and in the new form", () => {
  assert.deepEqual(configOf({ rope_scaling: { type: "linear", factor: 2 } }).ropeScaling, {
    type: "linear",
    factor: 2,
  });
  const merged = configOf({ rope_theta: undefined, rope_parameters: { rope_type: "default", rope_theta: 5e5 } });
  assert.deepEqual([merged.ropeTheta, merged.ropeScaling], [5e5, { type: "none" }]);
  const yarn = configOf({ rope_scaling: { rope_type: "yarn", factor: 4, original_max_position_embeddings: 128 } });
  assert.equal(yarn.maxPositions, 512);
  assert.ok(yarn.ropeScaling.type === "yarn" && Math.abs(yarn.ropeScaling.attentionFactor - 1.1386) < 1e-4);
  const deepseek = { rope_type: "yarn", factor: 4, mscale: 0.8, mscale_all_dim: 0.8 };
  const factors = configOf({ rope_scaling: deepseek }).ropeScaling;
  assert.ok(factors.type === "yarn" && factors.attentionFactor === 1);
});

const REFUSED: [Record<string, unknown>, RegExp][] = [
  [{ model_type: "mamba" }, /model_type "mamba" is not one of llama, mistral, qwen2, qwen3/],
  [{ model_type: "constructor" }, /is not one of/],
  [{ model_type: undefined }, /model_type is missing/],
  [{ architectures: ["LlamaForSequenceClassification"] }, /is not LlamaForCausalLM/],
  [{ hidden_size: undefined }, /hidden_size is missing/],
  [{ hidden_size: "64" }, /hidden_size must be a number/],
  [{ hidden_size: 1e9 }, /hidden_size 1000000000 is not between/],
  [{ hidden_size: 63.5 }, /hidden_size 63.5 is not an integer/],
  [{ hidden_size: 66 }, /head_dim 16.5 is not an integer/],
  [{ head_dim: 15 }, /head_dim 15 is odd/],
  [{ num_hidden_layers: 0 }, /num_hidden_layers 0 is not between/],
  [{ num_hidden_layers: 1e6 }, /num_hidden_layers 1000000 is not between/],
  [{ num_key_value_heads: 3 }, /3 does not divide 4 heads/],
  [{ num_key_value_heads: 8 }, /num_key_value_heads 8 is not between/],
  [{ vocab_size: -1 }, /vocab_size -1 is not between/],
  [{ eos_token_id: 96 }, /eos_token_id 96 is not a token/],
  [{ eos_token_id: [1, "2"] }, /eos_token_id "2" is not a token/],
  [{ hidden_act: "gelu" }, /hidden_act gelu is not silu/],
  [{ quantization_config: { bits: 4 } }, /quantization_config is not supported/],
  [{ partial_rotary_factor: 0.5 }, /partial_rotary_factor must be 1/],
  [{ rope_scaling: { rope_type: "longrope" } }, /rope_scaling.rope_type|rope_type "longrope" is not one of/],
  [{ rope_scaling: { rope_type: "linear", factor: 0 } }, /rope_scaling.factor 0 is not between/],
  [{ rope_scaling: { rope_type: "linear" } }, /rope_scaling.factor is missing/],
  [{ rope_scaling: [] }, /rope_scaling must be an object/],
  [{ rope_theta: null, rope_parameters: 4 }, /rope_parameters must be an object/],
  [{ tie_word_embeddings: "no" }, /tie_word_embeddings must be true or false/],
];

for (const [overrides, message] of REFUSED) {
  test(`config.json refused: ${JSON.stringify(overrides)}`, () => {
    assert.throws(
      () => configOf(overrides),
      (error) => error instanceof ModelFormatError && message.test(error.message),
    );
  });
}

test("a missing, huge or deeply nested file is refused without being parsed", () => {
  const folder = temporaryFolder();
  assert.throws(() => readModelConfig(folder), /config.json: cannot be read/);
  writeFileSync(join(folder, "config.json"), " ".repeat((4 << 20) + 1));
  assert.throws(() => readModelConfig(folder), /bytes are more than 4194304/);
  const nested = new TextEncoder().encode(`{"a":${"[".repeat(100_000)}`);
  assert.throws(() => parseJsonObject(nested, "config.json", CONFIG_LIMITS), /nested deeper than 16/);
});

test("a member named __proto__ changes nothing", () => {
  const text = `{"__proto__":{"hidden_size":64,"model_type":"llama"}}`;
  const json = parseJsonObject(new TextEncoder().encode(text), "config.json", CONFIG_LIMITS);
  assert.throws(() => parseModelConfig(json), /model_type is missing/);
});

test("generation_config.json may add end-of-sequence tokens", () => {
  const folder = temporaryFolder();
  writeFileSync(join(folder, "config.json"), JSON.stringify(TINY));
  assert.deepEqual(readModelConfig(folder).eosTokenIds, [2]);
  writeFileSync(join(folder, "generation_config.json"), JSON.stringify({ eos_token_id: [3, 2] }));
  assert.deepEqual(readModelConfig(folder).eosTokenIds, [2, 3]);
  writeFileSync(join(folder, "generation_config.json"), JSON.stringify({ eos_token_id: 96 }));
  assert.throws(() => readModelConfig(folder), /96 is not a token/);
});

test("three thousand mutated configurations are understood or refused, and never crash", () => {
  const text = JSON.stringify({ ...TINY, rope_scaling: { rope_type: "yarn", factor: 4, beta_fast: 32 } });
  const random = seededRandom(3);
  const pieces = ["1e999", "-1", "null", "[]", "{}", '""', "true", "0", "99999999999999999999", "1.5", '"yarn"', "["];
  let accepted = 0;
  for (let trial = 0; trial < 3000; trial++) {
    let mutated = text;
    for (let edits = 1 + Math.floor(random() * 3); edits > 0; edits--) {
      const at = Math.floor(random() * mutated.length);
      const piece = pieces[Math.floor(random() * pieces.length)];
      const values = [...mutated.matchAll(/:("[^"]*"|[\d.e+-]+|true|false|null)/g)];
      const value = values[Math.floor(random() * values.length)];
      if (random() < 0.6 && value) {
        mutated = `${mutated.slice(0, value.index + 1)}${piece}${mutated.slice(value.index + value[0].length)}`;
      } else mutated = random() < 0.5 ? mutated.slice(0, at) + mutated.slice(at + 1) : mutated.slice(0, at);
    }
    try {
      const config = parseModelConfig(parseJsonObject(new TextEncoder().encode(mutated), "config.json", CONFIG_LIMITS));
      assert.ok(config.heads % config.kvHeads === 0 && Number.isInteger(config.headDim) && config.layers > 0);
      accepted++;
    } catch (error) {
      assert.ok(error instanceof ModelFormatError, `${mutated}: ${error}`);
    }
  }
  assert.ok(accepted > 30 && accepted < 2900, String(accepted));
});
