/**
 * Model and adapter folders with seeded random weights on real shapes, for benchmarks and tests. They are ordinary
 * Hugging Face and PEFT folders, kept in `.cache/bench/`, written once and reused.
 *
 * From the command line: `node scripts/bench/shapes.ts 135m` prints the folder of the model.
 */
import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { type StreamedTensor, streamSafetensors } from "../../operator/engine/model/safetensors-writer.ts";
import { fillUniform, seedFrom } from "./random.ts";
import { generateTokenizer, tokenizerConfigJson, tokenizerJson } from "./tokenizer.ts";

/** What a shape fixes; the rest of `config.json` follows from it. */
export interface Shape {
  family: "llama" | "qwen2";
  hidden: number;
  inter: number;
  layers: number;
  heads: number;
  kvHeads: number;
  vocab: number;
  maxPositions: number;
  ropeTheta: number;
  epsilon: number;
  tied: boolean;
}

export type ShapeName = "tiny" | "15m" | "135m" | "135m-16k" | "500m";

/**
 * tiny for tests; 15m as stories15M (with a longer context), 135m as SmolLM2-135M, the same with twice its positions,
 * 500m as Qwen2.5-0.5B.
 */
export const SHAPES: Record<ShapeName, Shape> = {
  tiny: shape("llama", 64, 128, 2, 4, 2, 512, 2048, 10_000, 1e-5),
  "15m": shape("llama", 288, 768, 6, 6, 6, 32_000, 4096, 10_000, 1e-5),
  "135m": shape("llama", 576, 1536, 30, 9, 3, 49_152, 8192, 100_000, 1e-5),
  "135m-16k": shape("llama", 576, 1536, 30, 9, 3, 49_152, 16_384, 100_000, 1e-5),
  "500m": shape("qwen2", 896, 4864, 24, 14, 2, 151_936, 32_768, 1_000_000, 1e-6),
};

function shape(
  family: Shape["family"],
  hidden: number,
  inter: number,
  layers: number,
  heads: number,
  kvHeads: number,
  vocab: number,
  maxPositions: number,
  ropeTheta: number,
  epsilon: number,
): Shape {
  return { family, hidden, inter, layers, heads, kvHeads, vocab, maxPositions, ropeTheta, epsilon, tied: true };
}

/** The seven linear layers of a block, PEFT's names. */
export const TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"] as const;
export type Target = (typeof TARGETS)[number];

/** `[out, in]` of a linear layer's weight, and the module that holds it. */
function linearShape(s: Shape, target: Target): { module: "self_attn" | "mlp"; out: number; in: number } {
  const kv = (s.hidden / s.heads) * s.kvHeads;
  if (target === "q_proj" || target === "o_proj") return { module: "self_attn", out: s.hidden, in: s.hidden };
  if (target === "k_proj" || target === "v_proj") return { module: "self_attn", out: kv, in: s.hidden };
  if (target === "down_proj") return { module: "mlp", out: s.hidden, in: s.inter };
  return { module: "mlp", out: s.inter, in: s.hidden };
}

/** Parameters of the model, the tied embedding counted once. */
export function parameterCount(s: Shape): number {
  return modelTensors(s, 1).reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);
}

/**
 * Path of a model folder with random weights; written when it is not there yet (135m: a few seconds).
 * Standard deviations are 1/√fan-in, so that activations keep their size and greedy answers vary.
 */
export function modelFolder(name: ShapeName, seed = 1): string {
  const s = SHAPES[name];
  return once(join("models", `${name}-f32-${seed}`), (folder) => {
    const tokenizer = generateTokenizer(s.vocab);
    writeJson(join(folder, "config.json"), configJson(s));
    writeJson(join(folder, "tokenizer.json"), tokenizerJson(tokenizer));
    writeJson(join(folder, "tokenizer_config.json"), tokenizerConfigJson(tokenizer, s.maxPositions));
    streamSafetensors(join(folder, "model.safetensors"), modelTensors(s, seed));
  });
}

export interface AdapterOptions {
  rank?: number;
  alpha?: number;
  targets?: readonly Target[];
  /** Standard deviation of lora_B relative to 1/√r; 0.05 moves answers without drowning the base. */
  strength?: number;
  /** Layers with non-zero lora_B and lora_A; the others are zeros, left as holes in the file. Default: all. */
  denseLayers?: number;
}

/** Path of PEFT adapter folder number `index` for a shape; written when it is not there yet. */
export function adapterFolder(name: ShapeName, index: number, options: AdapterOptions = {}): string {
  const { label, rank, alpha, targets, tensors } = adapterTensors(name, index, options);
  return once(join("adapters", label, String(index).padStart(5, "0")), (folder) => {
    writeJson(join(folder, "adapter_config.json"), {
      peft_type: "LORA",
      task_type: "CAUSAL_LM",
      base_model_name_or_path: `openledger-bench/${name}`,
      r: rank,
      lora_alpha: alpha,
      lora_dropout: 0,
      target_modules: [...targets],
      bias: "none",
      modules_to_save: null,
      use_rslora: false,
      use_dora: false,
      rank_pattern: {},
      alpha_pattern: {},
      fan_in_fan_out: false,
      inference_mode: true,
    });
    streamSafetensors(join(folder, "adapter_model.safetensors"), tensors);
  });
}

/** What an adapter of a shape consists of; `label` names all that decides its contents but the index. */
export function adapterTensors(name: ShapeName, index: number, options: AdapterOptions = {}) {
  const { rank = 16, alpha = 2 * rank, targets = TARGETS, strength = 0.05 } = options;
  const s = SHAPES[name];
  const denseLayers = Math.min(options.denseLayers ?? s.layers, s.layers);
  const label = [name, `r${rank}`, `a${alpha}`, `s${strength}`, `d${denseLayers}`, targetsLabel(targets)].join("-");
  const tensors: StreamedTensor[] = [];
  for (let layer = 0; layer < s.layers; layer++) {
    for (const target of targets) {
      const { module, out, in: fanIn } = linearShape(s, target);
      const prefix = `base_model.model.model.layers.${layer}.${module}.${target}`;
      const dense = layer < denseLayers;
      tensors.push(
        tensor(`${prefix}.lora_A.weight`, [rank, fanIn], dense ? 1 / Math.sqrt(fanIn) : 0, index + 1),
        tensor(`${prefix}.lora_B.weight`, [out, rank], dense ? strength / Math.sqrt(rank) : 0, index + 1),
      );
    }
  }
  return { label, rank, alpha, targets, tensors };
}

/** Folder under `.cache/bench` where everything lies, made on first use. */
export function benchCache(): string {
  const folder = resolve(fileURLToPath(import.meta.url), "../../../.cache/bench");
  mkdirSync(folder, { recursive: true });
  return folder;
}

/** Runs `write` on a fresh folder and puts it in place by one rename, so that a killed run leaves no half folder. */
export function once(relative: string, write: (folder: string) => void): string {
  const target = join(benchCache(), relative);
  if (existsSync(target)) return target;
  const draft = `${target}.${process.pid}.draft`;
  rmSync(draft, { recursive: true, force: true });
  mkdirSync(draft, { recursive: true });
  write(draft);
  try {
    renameSync(draft, target);
  } catch (error) {
    rmSync(draft, { recursive: true, force: true });
    if (!existsSync(target)) throw error;
  }
  return target;
}

function configJson(s: Shape): object {
  const qwen2 = s.family === "qwen2";
  return {
    architectures: [qwen2 ? "Qwen2ForCausalLM" : "LlamaForCausalLM"],
    model_type: s.family,
    attention_dropout: 0,
    ...(qwen2 ? { use_sliding_window: false } : { attention_bias: false, mlp_bias: false }),
    bos_token_id: 0,
    eos_token_id: 2,
    hidden_act: "silu",
    hidden_size: s.hidden,
    initializer_range: 0.02,
    intermediate_size: s.inter,
    max_position_embeddings: s.maxPositions,
    num_attention_heads: s.heads,
    num_hidden_layers: s.layers,
    num_key_value_heads: s.kvHeads,
    rms_norm_eps: s.epsilon,
    rope_scaling: null,
    rope_theta: s.ropeTheta,
    tie_word_embeddings: s.tied,
    torch_dtype: "float32",
    use_cache: true,
    vocab_size: s.vocab,
  };
}

/** Every tensor of a shape's `model.safetensors`, in the order of the file. */
export function modelTensors(s: Shape, seed: number): StreamedTensor[] {
  const tensors = [tensor("model.embed_tokens.weight", [s.vocab, s.hidden], 1 / Math.sqrt(s.hidden), seed)];
  for (let layer = 0; layer < s.layers; layer++) {
    const prefix = `model.layers.${layer}`;
    tensors.push(tensor(`${prefix}.input_layernorm.weight`, [s.hidden], 0.02, seed, 1));
    tensors.push(tensor(`${prefix}.post_attention_layernorm.weight`, [s.hidden], 0.02, seed, 1));
    for (const target of TARGETS) {
      const { module, out, in: fanIn } = linearShape(s, target);
      const name = `${prefix}.${module}.${target}`;
      tensors.push(tensor(`${name}.weight`, [out, fanIn], 1 / Math.sqrt(fanIn), seed));
      const bias = s.family === "qwen2" && (target === "q_proj" || target === "k_proj" || target === "v_proj");
      if (bias) tensors.push(tensor(`${name}.bias`, [out], 0.1, seed));
    }
  }
  tensors.push(tensor("model.norm.weight", [s.hidden], 0.02, seed, 1));
  return tensors;
}

const PIECE = 1 << 20;

function tensor(name: string, dims: number[], std: number, seed: number, mean = 0): StreamedTensor {
  if (std === 0 && mean === 0) return { name, shape: dims, pieces: null };
  const pieces = function* () {
    const total = dims.reduce((product, size) => product * size, 1);
    const piece = new Float32Array(Math.min(PIECE, total));
    let state = seedFrom(name, seed);
    for (let done = 0; done < total; done += piece.length) {
      const part = piece.subarray(0, Math.min(piece.length, total - done));
      state = fillUniform(part, state, mean, std);
      yield part;
    }
  };
  return { name, shape: dims, pieces };
}

function targetsLabel(targets: readonly Target[]): string {
  return targets.length === TARGETS.length ? "all" : targets.map((target) => target.replace("_proj", "")).join("+");
}

function writeJson(path: string, value: object): void {
  writeFileSync(path, `${JSON.stringify(value, null, 1)}\n`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const names = process.argv.slice(2);
  const unknown = names.filter((name) => !(name in SHAPES));
  if (names.length === 0 || unknown.length > 0) {
    console.error(`Usage: shapes.ts ${Object.keys(SHAPES).join("|")} …`);
    process.exit(2);
  }
  for (const name of names) console.log(modelFolder(name as ShapeName));
}
