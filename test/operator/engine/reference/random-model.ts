import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type FloatTensor, writeSafetensors } from "../../../../operator/engine/model/safetensors-writer.ts";

/** A Hugging Face `config.json`, as its members are named there. */
export type HfConfig = Record<string, unknown> & {
  model_type: string;
  hidden_size: number;
  intermediate_size: number;
  num_hidden_layers: number;
  num_attention_heads: number;
  num_key_value_heads: number;
  vocab_size: number;
};

/** Seeded generator (mulberry32): uniform in [0, 1). */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Values around `mean`, roughly normal with deviation `std`. */
function randomTensor(random: () => number, shape: number[], std: number, mean = 0): Float32Array {
  const count = shape.reduce((a, b) => a * b, 1);
  return Float32Array.from({ length: count }, () => mean + std * (random() + random() + random() + random() - 2) * 1.7);
}

export const TINY: HfConfig = {
  model_type: "llama",
  architectures: ["LlamaForCausalLM"],
  hidden_size: 64,
  intermediate_size: 96,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  vocab_size: 96,
  max_position_embeddings: 256,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  hidden_act: "silu",
  tie_word_embeddings: false,
  bos_token_id: 1,
  eos_token_id: 2,
};

export interface RandomModel {
  readonly folder: string;
  readonly config: HfConfig;
  /** Every tensor by its name in the file. */
  readonly tensors: ReadonlyMap<string, FloatTensor>;
}

const folders: string[] = [];
process.on("exit", () => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

/** A folder that is removed when the process ends. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "openledger-engine-"));
  folders.push(folder);
  return folder;
}

/** Writes a model folder with random weights, large enough that attention and adapters matter. */
export function randomModel(overrides: Partial<HfConfig> = {}, seed = 1): RandomModel {
  const config = { ...TINY, ...overrides } as HfConfig;
  const random = seededRandom(seed);
  const head = (config.head_dim as number | undefined) ?? config.hidden_size / config.num_attention_heads;
  const qSize = config.num_attention_heads * head;
  const kvSize = config.num_key_value_heads * head;
  const hidden = config.hidden_size;
  const inter = config.intermediate_size;
  const tensors = new Map<string, FloatTensor>();
  const add = (name: string, shape: number[], std: number, mean = 0) =>
    tensors.set(name, { name, shape, data: randomTensor(random, shape, std, mean) });
  add("model.embed_tokens.weight", [config.vocab_size, hidden], 0.7);
  const attentionBias = config.attention_bias === true;
  for (let layer = 0; layer < config.num_hidden_layers; layer++) {
    const prefix = `model.layers.${layer}`;
    const linear = (name: string, out: number, fanIn: number, bias: boolean) => {
      add(`${prefix}.${name}.weight`, [out, fanIn], 1.2 / Math.sqrt(fanIn));
      if (bias) add(`${prefix}.${name}.bias`, [out], 0.3);
    };
    add(`${prefix}.input_layernorm.weight`, [hidden], 0.2, 1);
    add(`${prefix}.post_attention_layernorm.weight`, [hidden], 0.2, 1);
    if (config.model_type === "qwen3") {
      add(`${prefix}.self_attn.q_norm.weight`, [head], 0.2, 1);
      add(`${prefix}.self_attn.k_norm.weight`, [head], 0.2, 1);
    }
    const qkvBias = attentionBias || config.model_type === "qwen2";
    linear("self_attn.q_proj", qSize, hidden, qkvBias);
    linear("self_attn.k_proj", kvSize, hidden, qkvBias);
    linear("self_attn.v_proj", kvSize, hidden, qkvBias);
    linear("self_attn.o_proj", hidden, qSize, attentionBias);
    linear("mlp.gate_proj", inter, hidden, config.mlp_bias === true);
    linear("mlp.up_proj", inter, hidden, config.mlp_bias === true);
    linear("mlp.down_proj", hidden, inter, config.mlp_bias === true);
  }
  add("model.norm.weight", [hidden], 0.2, 1);
  if (config.tie_word_embeddings !== true) add("lm_head.weight", [config.vocab_size, hidden], 0.2);
  const folder = temporaryFolder();
  writeFileSync(join(folder, "config.json"), JSON.stringify(config));
  writeSafetensors(join(folder, "model.safetensors"), [...tensors.values()]);
  return { folder, config, tensors };
}

export interface RandomAdapter {
  readonly folder: string;
  /** By module path, such as `model.layers.0.self_attn.q_proj`. */
  readonly modules: ReadonlyMap<string, { a: Float32Array; b: Float32Array; rank: number; scale: number }>;
}

export interface RandomAdapterOptions {
  rank?: number;
  alpha?: number;
  targets?: string[];
  rslora?: boolean;
  rankPattern?: Record<string, number>;
  alphaPattern?: Record<string, number>;
  /** Deviation of lora_B. */
  strength?: number;
  seed?: number;
}

const ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];

/** Writes a PEFT folder with random factors for a random model. */
export function randomAdapter(model: RandomModel, options: RandomAdapterOptions = {}): RandomAdapter {
  const { rank = 4, alpha = 8, targets = ALL, rslora = false, strength = 0.15, seed = 7 } = options;
  const random = seededRandom(seed * 7919 + 13);
  const tensors: FloatTensor[] = [];
  const modules = new Map<string, { a: Float32Array; b: Float32Array; rank: number; scale: number }>();
  for (const { name, shape } of model.tensors.values()) {
    const path = name.replace(/\.weight$/, "");
    const target = targets.find((candidate) => path.endsWith(`.${candidate}`) && !name.endsWith(".bias"));
    if (!target) continue;
    const r = options.rankPattern?.[target] ?? rank;
    const moduleAlpha = options.alphaPattern?.[target] ?? alpha;
    const a = randomTensor(random, [r, shape[1]], 1 / Math.sqrt(shape[1]));
    const b = randomTensor(random, [shape[0], r], strength);
    tensors.push({ name: `base_model.model.${path}.lora_A.weight`, shape: [r, shape[1]], data: a });
    tensors.push({ name: `base_model.model.${path}.lora_B.weight`, shape: [shape[0], r], data: b });
    modules.set(path, { a, b, rank: r, scale: moduleAlpha / (rslora ? Math.sqrt(r) : r) });
  }
  const folder = temporaryFolder();
  mkdirSync(folder, { recursive: true });
  const config = {
    peft_type: "LORA",
    r: rank,
    lora_alpha: alpha,
    target_modules: targets,
    use_rslora: rslora,
    bias: "none",
    rank_pattern: options.rankPattern ?? {},
    alpha_pattern: options.alphaPattern ?? {},
  };
  writeFileSync(join(folder, "adapter_config.json"), JSON.stringify(config));
  writeSafetensors(join(folder, "adapter_model.safetensors"), tensors);
  return { folder, modules };
}
