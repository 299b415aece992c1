import { existsSync } from "node:fs";
import { join } from "node:path";
import type { ModelConfig, ModelFamily, RopeScaling } from "./config-types.ts";
import { CONFIG_LIMITS, type JsonObject, readJsonObject } from "./json-file.ts";

/** What differs between families where `config.json` does not say it. */
interface FamilyRules {
  architecture: string;
  /** null: `attention_bias` decides. */
  qkvBias: boolean | null;
  outputBias: boolean | null;
  qkNorm: boolean;
  window: "all layers" | "upper layers" | "none";
}

const FAMILIES: Record<ModelFamily, FamilyRules> = {
  llama: { architecture: "LlamaForCausalLM", qkvBias: null, outputBias: null, qkNorm: false, window: "none" },
  mistral: {
    architecture: "MistralForCausalLM",
    qkvBias: false,
    outputBias: false,
    qkNorm: false,
    window: "all layers",
  },
  qwen2: { architecture: "Qwen2ForCausalLM", qkvBias: true, outputBias: false, qkNorm: false, window: "upper layers" },
  qwen3: { architecture: "Qwen3ForCausalLM", qkvBias: null, outputBias: null, qkNorm: true, window: "upper layers" },
};

/**
 * Reads `config.json` of a Hugging Face model folder, and `generation_config.json` for more tokens that end an answer.
 * @throws ModelFormatError on what this engine cannot serve
 */
export function readModelConfig(folder: string): ModelConfig {
  const config = parseModelConfig(readJsonObject(join(folder, "config.json"), CONFIG_LIMITS));
  const path = join(folder, "generation_config.json");
  if (!existsSync(path)) return config;
  const more = readTokenIds(readJsonObject(path, CONFIG_LIMITS), "eos_token_id", config.vocabSize);
  return { ...config, eosTokenIds: [...new Set([...config.eosTokenIds, ...more])] };
}

/** @throws ModelFormatError on unknown families, absurd sizes and options that this engine does not honour. */
export function parseModelConfig(json: JsonObject): ModelConfig {
  const family = json.string("model_type");
  if (!Object.hasOwn(FAMILIES, family)) {
    json.fail("model_type", `${JSON.stringify(family)} is not one of ${Object.keys(FAMILIES).join(", ")}`);
  }
  const rules = FAMILIES[family as ModelFamily];
  const architectures = json.strings("architectures");
  if (architectures && !architectures.includes(rules.architecture)) {
    json.fail("architectures", `${architectures.join(", ")} is not ${rules.architecture}`);
  }
  if (json.get("quantization_config") !== undefined) json.fail("quantization_config", "is not supported");
  const activation = json.string("hidden_act", "silu");
  if (activation !== "silu") json.fail("hidden_act", `${activation} is not silu`);
  if (json.number("partial_rotary_factor", {}, 1) !== 1) json.fail("partial_rotary_factor", "must be 1");

  const hiddenSize = json.integer("hidden_size", { min: 2, max: 1 << 16 });
  const heads = json.integer("num_attention_heads", { min: 1, max: 1024 });
  const kvHeads = json.integer("num_key_value_heads", { min: 1, max: heads }, heads);
  if (heads % kvHeads !== 0) json.fail("num_key_value_heads", `${kvHeads} does not divide ${heads} heads`);
  const headDim = json.integer("head_dim", { min: 2, max: 1024 }, hiddenSize / heads);
  if (headDim % 2 !== 0) json.fail("head_dim", `${headDim} is odd`);
  const layers = json.integer("num_hidden_layers", { min: 1, max: 1024 });
  const vocabSize = json.integer("vocab_size", { min: 2, max: 1 << 22 });
  const maxPositions = json.integer("max_position_embeddings", { min: 1, max: 1 << 24 });
  const rope = readRope(json, maxPositions);
  const attentionBias = json.boolean("attention_bias", false);
  return {
    family: family as ModelFamily,
    vocabSize,
    hiddenSize,
    intermediateSize: json.integer("intermediate_size", { min: 1, max: 1 << 18 }),
    layers,
    heads,
    kvHeads,
    headDim,
    maxPositions: rope.maxPositions,
    rmsNormEps: json.number("rms_norm_eps", { min: 0, max: 1 }, 1e-6),
    ropeTheta: rope.theta,
    ropeScaling: rope.scaling,
    windows: readWindows(json, rules, layers),
    tiedEmbeddings: json.boolean("tie_word_embeddings", false),
    qkvBias: rules.qkvBias ?? attentionBias,
    outputBias: rules.outputBias ?? attentionBias,
    mlpBias: family === "llama" && json.boolean("mlp_bias", false),
    qkNorm: rules.qkNorm,
    bosTokenId: readTokenIds(json, "bos_token_id", vocabSize)[0],
    eosTokenIds: readTokenIds(json, "eos_token_id", vocabSize),
  };
}

/** One id, several, or none. @throws ModelFormatError on ids outside the vocabulary. */
function readTokenIds(json: JsonObject, name: string, vocabSize: number): number[] {
  const value = json.get(name);
  const ids: unknown[] = value === undefined ? [] : Array.isArray(value) ? value : [value];
  for (const id of ids) {
    if (!Number.isInteger(id) || (id as number) < 0 || (id as number) >= vocabSize) {
      json.fail(name, `${JSON.stringify(id)} is not a token of the vocabulary`);
    }
  }
  return ids as number[];
}

interface Rope {
  theta: number;
  scaling: RopeScaling;
  maxPositions: number;
}

/** Takes both the old members (`rope_theta`, `rope_scaling`) and the newer `rope_parameters`. */
function readRope(json: JsonObject, maxPositions: number): Rope {
  const merged = json.object("rope_parameters");
  const source = merged ?? json.object("rope_scaling");
  const range = { min: 1, max: 1e12 };
  const theta = merged?.number("rope_theta", range, 10_000) ?? json.number("rope_theta", range, 10_000);
  if (source === undefined) return { theta, scaling: { type: "none" }, maxPositions };
  const type = source.string("rope_type", source.string("type", "default"));
  const factorRange = { min: 1, max: 1e4 };
  const positions = { min: 1, max: 1 << 24 };
  switch (type) {
    case "default":
      return { theta, scaling: { type: "none" }, maxPositions };
    case "linear":
      return { theta, scaling: { type, factor: source.number("factor", factorRange) }, maxPositions };
    case "llama3": {
      const lowFreqFactor = source.number("low_freq_factor", { min: 1e-3, max: 1e4 });
      const highFreqFactor = source.number("high_freq_factor", { min: 1e-3, max: 1e4 });
      if (highFreqFactor <= lowFreqFactor) source.fail("high_freq_factor", "must be larger than low_freq_factor");
      const originalMaxPositions = source.integer("original_max_position_embeddings", positions);
      const factor = source.number("factor", factorRange);
      return { theta, scaling: { type, factor, lowFreqFactor, highFreqFactor, originalMaxPositions }, maxPositions };
    }
    case "yarn": {
      const originalMaxPositions = source.integer("original_max_position_embeddings", positions, maxPositions);
      const factor = source.number("factor", factorRange, Math.max(1, maxPositions / originalMaxPositions));
      const scaling: RopeScaling = {
        type,
        factor,
        betaFast: source.number("beta_fast", { min: 1e-3, max: 1e6 }, 32),
        betaSlow: source.number("beta_slow", { min: 1e-3, max: 1e6 }, 1),
        attentionFactor: yarnAttentionFactor(source, factor),
        truncate: source.boolean("truncate", true),
        originalMaxPositions,
      };
      return { theta, scaling, maxPositions: Math.max(maxPositions, Math.floor(originalMaxPositions * factor)) };
    }
    default:
      return source.fail("rope_type", `${JSON.stringify(type)} is not one of default, linear, llama3, yarn`);
  }
}

/** YaRN's temperature on the rotation (Peng et al. 2023, eq. 22), with the two-factor form of DeepSeek's models. */
function yarnAttentionFactor(source: JsonObject, factor: number): number {
  const scale = (mscale: number) => (factor <= 1 ? 1 : 0.1 * mscale * Math.log(factor) + 1);
  const range = { min: 1e-6, max: 1e6 };
  if (source.get("attention_factor") !== undefined) return source.number("attention_factor", range);
  const mscale = source.number("mscale", { min: 0, max: 1e6 }, 0);
  const mscaleAllDim = source.number("mscale_all_dim", { min: 0, max: 1e6 }, 0);
  return mscale > 0 && mscaleAllDim > 0 ? scale(mscale) / scale(mscaleAllDim) : scale(1);
}

function readWindows(json: JsonObject, rules: FamilyRules, layers: number): (number | null)[] {
  const none = new Array<number | null>(layers).fill(null);
  if (rules.window === "none" || json.get("sliding_window") === undefined) return none;
  if (rules.window === "upper layers" && !json.boolean("use_sliding_window", false)) return none;
  const window = json.integer("sliding_window", { min: 1, max: 1 << 24 });
  const types = json.strings("layer_types");
  if (types) {
    const unknown = types.find((type) => type !== "full_attention" && type !== "sliding_attention");
    if (unknown !== undefined) json.fail("layer_types", `${JSON.stringify(unknown)} is not supported`);
    if (types.length !== layers) json.fail("layer_types", `has ${types.length} entries for ${layers} layers`);
    return types.map((type) => (type === "sliding_attention" ? window : null));
  }
  const first = rules.window === "all layers" ? 0 : json.integer("max_window_layers", { min: 0, max: 1 << 20 }, 28);
  return none.map((_, layer) => (layer >= first ? window : null));
}
