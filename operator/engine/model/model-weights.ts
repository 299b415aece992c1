import { existsSync } from "node:fs";
import { basename, join } from "node:path";
import type { ModelConfig } from "./config-types.ts";
import { ModelFormatError } from "./format-error.ts";
import { type JsonLimits, readJsonObject } from "./json-file.ts";
import { LORA_TARGETS, type LoraTarget, targetShape } from "./lora.ts";
import { SafetensorsFile } from "./safetensors.ts";

/** Name of the module that holds a matrix of a layer, without the leading `model.`. */
export function modulePath(layer: number, target: LoraTarget): string {
  const attention = target === "q_proj" || target === "k_proj" || target === "v_proj" || target === "o_proj";
  return `layers.${layer}.${attention ? "self_attn" : "mlp"}.${target}`;
}

/** Every tensor that a model of this configuration needs, with its shape. */
export function expectedTensors(config: ModelConfig): Map<string, number[]> {
  const { hiddenSize, vocabSize, headDim } = config;
  const shapes = new Map<string, number[]>([["model.embed_tokens.weight", [vocabSize, hiddenSize]]]);
  for (let layer = 0; layer < config.layers; layer++) {
    const prefix = `model.layers.${layer}`;
    shapes.set(`${prefix}.input_layernorm.weight`, [hiddenSize]);
    shapes.set(`${prefix}.post_attention_layernorm.weight`, [hiddenSize]);
    if (config.qkNorm) {
      shapes.set(`${prefix}.self_attn.q_norm.weight`, [headDim]);
      shapes.set(`${prefix}.self_attn.k_norm.weight`, [headDim]);
    }
    for (const target of LORA_TARGETS) {
      const [outputs, inputs] = targetShape(config, target);
      shapes.set(`model.${modulePath(layer, target)}.weight`, [outputs, inputs]);
      if (hasBias(config, target)) shapes.set(`model.${modulePath(layer, target)}.bias`, [outputs]);
    }
  }
  shapes.set("model.norm.weight", [hiddenSize]);
  if (!config.tiedEmbeddings) shapes.set("lm_head.weight", [vocabSize, hiddenSize]);
  return shapes;
}

export function hasBias(config: ModelConfig, target: LoraTarget): boolean {
  if (target === "q_proj" || target === "k_proj" || target === "v_proj") return config.qkvBias;
  return target === "o_proj" ? config.outputBias : config.mlpBias;
}

/** Tensors that files carry although nothing needs them. */
const IGNORED = /(^|\.)(rotary_emb\.inv_freq|masked_bias)$/;

/** The weights of a model folder: one file or several, every tensor present and of the shape the config says. */
export class ModelWeights {
  readonly paths: readonly string[];
  private readonly files: SafetensorsFile[] = [];
  private readonly homes = new Map<string, SafetensorsFile>();
  private readonly shapes: ReadonlyMap<string, readonly number[]>;

  /** @throws ModelFormatError if a file is broken or a tensor is missing, unknown or of another shape. */
  constructor(folder: string, config: ModelConfig) {
    this.shapes = expectedTensors(config);
    this.paths = weightPaths(folder);
    try {
      for (const path of this.paths) this.add(SafetensorsFile.open(path), config);
      for (const name of this.shapes.keys()) {
        if (!this.homes.has(name)) throw new ModelFormatError(folder, `no file holds tensor ${name}`);
      }
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** One tensor as float32, row major. @throws ModelFormatError if it holds a value that is not finite. */
  read(name: string): Float32Array {
    const file = this.homes.get(name);
    const shape = this.shapes.get(name);
    if (!file || !shape) throw new Error(`Tensor ${name} is not part of this model.`);
    return file.readFloats(name, shape);
  }

  close(): void {
    for (const file of this.files.splice(0)) file.close();
  }

  private add(file: SafetensorsFile, config: ModelConfig): void {
    this.files.push(file);
    for (const [name, { shape, dtype }] of file.entries) {
      const expected = this.shapes.get(name);
      if (!expected) {
        if (IGNORED.test(name) || (config.tiedEmbeddings && name === "lm_head.weight")) continue;
        throw new ModelFormatError(
          file.path,
          `tensor ${name} does not belong to a ${config.family} model of this size`,
        );
      }
      if (this.homes.has(name)) throw new ModelFormatError(file.path, `tensor ${name} stands in two files`);
      if (shape.length !== expected.length || shape.some((size, i) => size !== expected[i])) {
        throw new ModelFormatError(file.path, `tensor ${name} is [${shape}], config.json asks for [${expected}]`);
      }
      if (dtype !== "F32" && dtype !== "F16" && dtype !== "BF16") {
        throw new ModelFormatError(file.path, `tensor ${name} is ${dtype}; F32, F16 and BF16 are read`);
      }
      this.homes.set(name, file);
    }
  }
}

/** Limits for the index of a model in several files. */
export const INDEX_LIMITS: JsonLimits = { maxBytes: 64 << 20, maxDepth: 4 };

/** Weight files of a folder: `model.safetensors`, or those that its index names. */
export function weightPaths(folder: string): string[] {
  const single = join(folder, "model.safetensors");
  if (existsSync(single)) return [single];
  const indexPath = join(folder, "model.safetensors.index.json");
  if (!existsSync(indexPath)) throw new ModelFormatError(folder, "has no model.safetensors and no index of shards");
  const index = readJsonObject(indexPath, INDEX_LIMITS);
  const map = index.object("weight_map");
  if (!map) return index.fail("weight_map", "is missing");
  const names = new Set(Object.keys(map.members).map((tensor) => map.string(tensor)));
  if (names.size === 0 || names.size > 4096) map.fail("weight_map", `names ${names.size} files`);
  return [...names].sort().map((name) => {
    // A shard stands beside its index: nothing may reach outside the folder.
    if (basename(name) !== name || !name.endsWith(".safetensors") || name.includes("\\")) {
      index.fail("weight_map", `names ${JSON.stringify(name)}, which is not a file of this folder`);
    }
    return join(folder, name);
  });
}
