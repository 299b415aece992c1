import type { Parameter, ParameterLayout } from "./parameters.ts";

export interface AdamWSettings {
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  /** Pull towards zero per step, times the learning rate; matrices only. */
  readonly weightDecay: number;
}

/**
 * Adam with decoupled weight decay (Loshchilov and Hutter 2019, algorithm 2) over one flat buffer, float32 state.
 */
export class AdamW {
  /** First moments. */
  readonly mean: Float32Array;
  /** Second moments. */
  readonly square: Float32Array;
  private readonly parameters: readonly Parameter[];
  private readonly settings: AdamWSettings;

  /** @param parameters Those of the layout that it moves; default all. */
  constructor(layout: ParameterLayout, settings: AdamWSettings, parameters = layout.parameters) {
    this.parameters = parameters;
    this.settings = settings;
    this.mean = new Float32Array(layout.size);
    this.square = new Float32Array(layout.size);
  }

  /**
   * Moves `values` against `gradient`.
   *
   * @param step number of this step, from 1: it corrects the moments' bias towards zero.
   * @param scale multiplies the gradient (clipping).
   */
  update(values: Float32Array, gradient: Float32Array, step: number, learningRate: number, scale: number): void {
    const { beta1, beta2, epsilon, weightDecay } = this.settings;
    const { mean, square } = this;
    const rate = learningRate / (1 - beta1 ** step);
    const correction = 1 / (1 - beta2 ** step);
    for (const { offset, size, shape } of this.parameters) {
      const keep = shape.length > 1 ? 1 - learningRate * weightDecay : 1;
      for (let i = offset, end = offset + size; i < end; i++) {
        const g = gradient[i] * scale;
        const m = beta1 * mean[i] + (1 - beta1) * g;
        const v = beta2 * square[i] + (1 - beta2) * g * g;
        mean[i] = m;
        square[i] = v;
        values[i] = values[i] * keep - (rate * m) / (Math.sqrt(v * correction) + epsilon);
      }
    }
  }
}

/** Euclidean length of a gradient. */
export function gradientNorm(gradient: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < gradient.length; i++) sum += gradient[i] * gradient[i];
  return Math.sqrt(sum);
}
