import type { ModelConfig } from "../model/config-types.ts";
import { LORA_GROUPS, type LoraTarget } from "../model/lora.ts";
import { hasBias, type ModelWeights, modulePath } from "../model/model-weights.ts";
import type { MatrixSource } from "./matrices.ts";

/** Name of the embedding, which is also the head's matrix in tied models. */
export const EMBEDDING = "embedding";
export const HEAD = "head";
export const FINAL_NORM = "final_norm";

/** Name of a layer's tensor in the graph. */
export function layerTensor(layer: number, name: string): string {
  return `layers.${layer}.${name}`;
}

/** The graph's matrices and norms by name, read from the model's files when they are needed. */
export function matrixSources(weights: ModelWeights, config: ModelConfig): Map<string, MatrixSource> {
  const sources = new Map<string, MatrixSource>();
  const one = (name: string, tensor: string) => sources.set(name, { weights: () => weights.read(tensor) });
  one(EMBEDDING, "model.embed_tokens.weight");
  one(FINAL_NORM, "model.norm.weight");
  if (!config.tiedEmbeddings) one(HEAD, "lm_head.weight");
  for (let layer = 0; layer < config.layers; layer++) {
    one(layerTensor(layer, "input_norm"), `model.layers.${layer}.input_layernorm.weight`);
    one(layerTensor(layer, "mlp_norm"), `model.layers.${layer}.post_attention_layernorm.weight`);
    if (config.qkNorm) {
      one(layerTensor(layer, "q_norm"), `model.layers.${layer}.self_attn.q_norm.weight`);
      one(layerTensor(layer, "k_norm"), `model.layers.${layer}.self_attn.k_norm.weight`);
    }
    for (const [group, targets] of Object.entries(LORA_GROUPS)) {
      const read = (suffix: string) => () =>
        stack(targets.map((target: LoraTarget) => weights.read(`model.${modulePath(layer, target)}.${suffix}`)));
      const biased = hasBias(config, targets[0]);
      sources.set(layerTensor(layer, group), { weights: read("weight"), ...(biased ? { bias: read("bias") } : {}) });
    }
  }
  return sources;
}

function stack(parts: Float32Array[]): Float32Array {
  if (parts.length === 1) return parts[0];
  const whole = new Float32Array(parts.reduce((total, part) => total + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
