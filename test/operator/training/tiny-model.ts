import type { ModelConfig } from "../../../operator/engine/model/config-types.ts";
import { expectedTensors } from "../../../operator/engine/model/model-weights.ts";
import type { TokenRow } from "../../../operator/training/batch.ts";
import type { ParameterValues } from "../../../operator/training/gradient-session.ts";
import { ParameterLayout } from "../../../operator/training/parameters.ts";
import { seeded } from "../../../operator/training/random.ts";

/** A model that takes milliseconds: grouped heads, tied embeddings, a window in the second layer. */
export const TINY: ModelConfig = {
  family: "llama",
  vocabSize: 23,
  hiddenSize: 16,
  intermediateSize: 24,
  layers: 2,
  heads: 4,
  kvHeads: 2,
  headDim: 4,
  maxPositions: 64,
  rmsNormEps: 1e-5,
  ropeTheta: 100,
  ropeScaling: { type: "none" },
  windows: [null, 3],
  tiedEmbeddings: true,
  qkvBias: false,
  outputBias: false,
  mlpBias: false,
  qkNorm: false,
  bosTokenId: undefined,
  eosTokenIds: [0],
};

/** Random weights, larger than a fresh model's so that every part of the gradient matters. */
export function randomWeights(config: ModelConfig, seed: number, scale = 0.4): ParameterValues {
  const layout = new ParameterLayout(expectedTensors(config));
  const random = seeded(seed, "weights");
  const values = Float32Array.from({ length: layout.size }, () => scale * random.normal());
  return { layout, values };
}

export function randomRows(config: ModelConfig, seed: number, lengths: readonly number[]): TokenRow[] {
  const random = seeded(seed, "rows");
  return lengths.map((length) => ({
    tokens: Int32Array.from({ length }, () => random.int(config.vocabSize)),
    weights: Float32Array.from({ length }, (_, i) => (i === 0 ? 0 : random.next())),
  }));
}

/** |a − b| / |b|. */
export function relativeError(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let difference = 0;
  let length = 0;
  for (let i = 0; i < b.length; i++) {
    difference += (a[i] - b[i]) ** 2;
    length += b[i] ** 2;
  }
  return Math.sqrt(difference / length);
}
