import type { ModelConfig } from "../engine/model/config-types.ts";
import { expectedTensors } from "../engine/model/model-weights.ts";
import { ropeFrequencies } from "../engine/model/rope.ts";
import type { ParameterValues } from "./gradient-session.ts";
import { ParameterLayout } from "./parameters.ts";
import { seeded } from "./random.ts";

export interface InitialWeightsOptions {
  readonly seed: number;
  /** Standard deviation of matrices; those that write into the residual stream get this over sqrt(2 · layers). */
  readonly deviation: number;
  /** Start the first layer's heads looking one, two, three tokens back. */
  readonly positional?: PositionalStart;
}

export interface PositionalStart {
  /** Value of the first channel of every token's embedding, which then says "a token is here". */
  readonly constant: number;
  /** How far the score of the wanted distance stands above its neighbours'. */
  readonly sharpness: number;
}

/**
 * Weights to train a small model from.
 *
 * The positional start is what lets a model of a million parameters learn to look things up in its context at all:
 * every embedding shares a constant in channel 0, and in layer 0 query and key read only that channel, through vectors
 * whose rotary score is highest at one given distance d (score(Δ) ∝ Σ cos(θᵢ (Δ − d))). Tokens then know their
 * neighbours from the first step, and attention by content can form on top. The weights are ordinary ones and go on
 * being trained.
 */
export function initialWeights(config: ModelConfig, options: InitialWeightsOptions): ParameterValues {
  const layout = new ParameterLayout(expectedTensors(config));
  const values = new Float32Array(layout.size);
  const residual = options.deviation / Math.sqrt(2 * config.layers);
  for (const { name, shape, offset, size } of layout.parameters) {
    const random = seeded(options.seed, name);
    const inner = name.includes("o_proj") || name.includes("down_proj");
    for (let i = offset; i < offset + size; i++) {
      if (shape.length === 1) values[i] = name.endsWith(".bias") ? 0 : 1;
      else values[i] = random.normal() * (inner ? residual : options.deviation);
    }
  }
  if (options.positional !== undefined)
    startPositional(config, { layout, values }, options.deviation, options.positional);
  return { layout, values };
}

function startPositional(
  config: ModelConfig,
  { layout, values }: ParameterValues,
  deviation: number,
  { constant, sharpness }: PositionalStart,
): void {
  const { hiddenSize, headDim, heads, kvHeads, vocabSize } = config;
  const embedding = layout.view(values, "model.embed_tokens.weight");
  for (let token = 0; token < vocabSize; token++) embedding[token * hiddenSize] = constant;
  // What the constant is worth after the first normalisation.
  const rms = Math.sqrt((constant ** 2 + (hiddenSize - 1) * deviation ** 2) / hiddenSize);
  const frequencies = ropeFrequencies(config);
  const gap = frequencies.reduce((sum, frequency) => sum + 1 - Math.cos(frequency), 0);
  const amplitude = (Math.sqrt((sharpness * Math.sqrt(headDim)) / gap) * rms) / constant;
  const queries = layout.view(values, "model.layers.0.self_attn.q_proj.weight");
  const keys = layout.view(values, "model.layers.0.self_attn.k_proj.weight");
  const half = headDim / 2;
  for (let kv = 0; kv < Math.min(kvHeads, 3); kv++) {
    const distance = kv + 1;
    for (let i = 0; i < half; i++) {
      for (let head = (kv * heads) / kvHeads; head < ((kv + 1) * heads) / kvHeads; head++) {
        queries[(head * headDim + i) * hiddenSize] = amplitude;
        queries[(head * headDim + half + i) * hiddenSize] = 0;
      }
      keys[(kv * headDim + i) * hiddenSize] = amplitude * Math.cos(frequencies[i] * distance);
      keys[(kv * headDim + half + i) * hiddenSize] = amplitude * Math.sin(frequencies[i] * distance);
    }
  }
}
