export interface LearningRateSchedule {
  /** The highest rate, reached when the warm-up ends. */
  readonly peak: number;
  /** Steps of linear rise. */
  readonly warmup: number;
  /** Steps at the peak before the fall begins; default none. */
  readonly hold?: number;
  /** Steps in all. */
  readonly steps: number;
  /** Rate at the last step, as a share of the peak. */
  readonly floor: number;
}

/**
 * Learning rate of a step, from 0: linear warm-up, perhaps a time at the peak, then half a cosine down to the floor
 * (Loshchilov and Hutter 2017, SGDR, eq. 5 without restarts).
 */
export function learningRate({ peak, warmup, hold = 0, steps, floor }: LearningRateSchedule, step: number): number {
  if (step < warmup) return (peak * (step + 1)) / warmup;
  const fall = warmup + hold;
  const progress = Math.min(1, Math.max(0, step - fall) / Math.max(1, steps - 1 - fall));
  return peak * (floor + (1 - floor) * 0.5 * (1 + Math.cos(Math.PI * progress)));
}
