import type { ModelConfig, RopeScaling } from "./config-types.ts";

/**
 * Angle per position of each of the `headDim / 2` rotated pairs, in radians.
 *
 * Sources: RoFormer (Su et al. 2021, eq. 15); position interpolation (Chen et al. 2023) for linear; the Llama 3.1
 * release for llama3; YaRN (Peng et al. 2023, §3.2 to 3.4) for yarn.
 */
export function ropeFrequencies(config: Pick<ModelConfig, "headDim" | "ropeTheta" | "ropeScaling">): Float64Array {
  const { headDim, ropeTheta, ropeScaling } = config;
  const plain = Float64Array.from({ length: headDim / 2 }, (_, i) => ropeTheta ** ((-2 * i) / headDim));
  switch (ropeScaling.type) {
    case "none":
      return plain;
    case "linear":
      return plain.map((frequency) => frequency / ropeScaling.factor);
    case "llama3":
      return plain.map((frequency) => llama3Frequency(frequency, ropeScaling));
    case "yarn":
      return yarnFrequencies(plain, headDim, ropeTheta, ropeScaling);
  }
}

function llama3Frequency(frequency: number, scaling: Extract<RopeScaling, { type: "llama3" }>): number {
  const { factor, lowFreqFactor, highFreqFactor, originalMaxPositions } = scaling;
  const turns = (originalMaxPositions * frequency) / (2 * Math.PI);
  if (turns < lowFreqFactor) return frequency / factor;
  if (turns > highFreqFactor) return frequency;
  const smooth = (turns - lowFreqFactor) / (highFreqFactor - lowFreqFactor);
  return ((1 - smooth) * frequency) / factor + smooth * frequency;
}

function yarnFrequencies(
  plain: Float64Array,
  headDim: number,
  theta: number,
  scaling: Extract<RopeScaling, { type: "yarn" }>,
): Float64Array {
  const { factor, betaFast, betaSlow, truncate, originalMaxPositions } = scaling;
  // Pair whose wave makes `turns` full turns within the original context.
  const pairAt = (turns: number) =>
    (headDim * Math.log(originalMaxPositions / (turns * 2 * Math.PI))) / (2 * Math.log(theta));
  const round = truncate ? { low: Math.floor, high: Math.ceil } : { low: (x: number) => x, high: (x: number) => x };
  const low = Math.max(round.low(pairAt(betaFast)), 0);
  let high = Math.min(round.high(pairAt(betaSlow)), headDim - 1);
  if (high === low) high += 0.001;
  return plain.map((frequency, i) => {
    const interpolated = Math.min(Math.max((i - low) / (high - low), 0), 1);
    return (frequency / factor) * interpolated + frequency * (1 - interpolated);
  });
}

/** Cosines and sines of positions, filled on demand and kept. Rows are `headDim / 2` wide. */
export class RopeTable {
  private readonly frequencies: Float64Array;
  private readonly scale: number;
  private cos = new Float32Array(0);
  private sin = new Float32Array(0);
  private rows = 0;

  constructor(config: Pick<ModelConfig, "headDim" | "ropeTheta" | "ropeScaling">) {
    this.frequencies = ropeFrequencies(config);
    this.scale = config.ropeScaling.type === "yarn" ? config.ropeScaling.attentionFactor : 1;
  }

  /** Writes the rows of positions `first` to `first + count - 1` at row `at` of `cos` and `sin`. */
  copyRows(first: number, count: number, cos: Float32Array, sin: Float32Array, at: number): void {
    this.grow(first + count);
    const width = this.frequencies.length;
    cos.set(this.cos.subarray(first * width, (first + count) * width), at * width);
    sin.set(this.sin.subarray(first * width, (first + count) * width), at * width);
  }

  private grow(rows: number): void {
    if (rows <= this.rows) return;
    const width = this.frequencies.length;
    const target = Math.max(rows, this.rows * 2, 256);
    const cos = new Float32Array(target * width);
    const sin = new Float32Array(target * width);
    cos.set(this.cos);
    sin.set(this.sin);
    for (let position = this.rows; position < target; position++) {
      for (let i = 0; i < width; i++) {
        const angle = position * this.frequencies[i];
        cos[position * width + i] = Math.cos(angle) * this.scale;
        sin[position * width + i] = Math.sin(angle) * this.scale;
      }
    }
    this.cos = cos;
    this.sin = sin;
    this.rows = target;
  }
}
