import type { Batch } from "./batch.ts";
import { loadCheckpoint, saveCheckpoint, type TrainingState } from "./checkpoint.ts";
import type { GradientSession } from "./gradient-session.ts";
import { Muon, type MuonSettings } from "./muon.ts";
import { AdamW, type AdamWSettings, gradientNorm } from "./optimizer.ts";
import { type LearningRateSchedule, learningRate } from "./schedule.ts";

export interface TrainerOptions {
  readonly session: GradientSession;
  readonly optimizer: AdamWSettings;
  /** Trains the matrices inside the layers by Muon instead; for all weights of a model, not for adapters. */
  readonly muon?: MuonSettings;
  readonly schedule: LearningRateSchedule;
  /** Longest gradient that is used as it is; longer ones are shortened to it. */
  readonly clip: number;
  /**
   * Batches whose gradients are added for a step. Must depend on the step's number only, and their loss weights must
   * add up to one, so that the loss is the mean over a step whatever the batches' sizes.
   */
  readonly batches: (step: number) => readonly Batch[];
  readonly checkpoint?: {
    readonly path: string;
    /** Steps between checkpoints. */
    readonly every: number;
    /** Fingerprint of what decides the run's numbers. */
    readonly run: string;
  };
  readonly onStep?: (report: StepReport) => void | Promise<void>;
  readonly signal?: AbortSignal;
}

export interface StepReport {
  /** Steps done, from 1. */
  readonly step: number;
  /** Mean loss per weighted token, in nats. */
  readonly loss: number;
  /** Length of the gradient before clipping. */
  readonly gradientNorm: number;
  readonly learningRate: number;
  /** Tokens of the step's batches, padding included. */
  readonly tokens: number;
  readonly seconds: number;
}

/**
 * Trains the session's parameters in place, from the checkpoint if there is one.
 *
 * Same data, settings and number of threads give the same weights to the bit, whether or not the run was killed and
 * resumed between.
 *
 * @returns steps done: fewer than scheduled only when the signal stopped the run, after a checkpoint.
 */
export async function train(options: TrainerOptions): Promise<number> {
  const { session } = options;
  const { layout } = session.parameters;
  const matrices = options.muon === undefined ? [] : Muon.parametersOf(layout);
  const others = layout.parameters.filter((parameter) => !matrices.includes(parameter));
  const adam = new AdamW(layout, options.optimizer, others);
  const muon = options.muon === undefined ? undefined : await Muon.open(matrices, options.muon, session.threads);
  try {
    return await trainWith(options, adam, muon);
  } finally {
    await muon?.close();
  }
}

async function trainWith(options: TrainerOptions, adam: AdamW, muon: Muon | undefined): Promise<number> {
  const { session, schedule, checkpoint } = options;
  const { layout, values } = session.parameters;
  const { mean, square } = adam;
  const state: TrainingState = { step: 0, values, mean, square };
  if (checkpoint !== undefined) loadCheckpoint(checkpoint.path, checkpoint.run, state);
  const gradient = new Float32Array(layout.size);
  while (state.step < schedule.steps && !options.signal?.aborted) {
    const started = performance.now();
    gradient.fill(0);
    let loss = 0;
    let tokens = 0;
    for (const batch of options.batches(state.step)) {
      loss += (await session.accumulate(batch, gradient)).loss;
      tokens += batch.tokens.length;
    }
    const norm = gradientNorm(gradient);
    if (!Number.isFinite(norm)) throw new Error(`The gradient of step ${state.step + 1} is not finite (loss ${loss}).`);
    const rate = learningRate(schedule, state.step);
    const scale = Math.min(1, options.clip / (norm + 1e-12));
    adam.update(values, gradient, state.step + 1, rate, scale);
    // Muon needs no second moment; its momentum stands where Adam has its first.
    await muon?.update(values, gradient, mean, rate, scale);
    state.step++;
    const seconds = (performance.now() - started) / 1000;
    await options.onStep?.({ step: state.step, loss, gradientNorm: norm, learningRate: rate, tokens, seconds });
    if (checkpoint !== undefined && (state.step % checkpoint.every === 0 || state.step === schedule.steps)) {
      saveCheckpoint(checkpoint.path, checkpoint.run, state);
    }
  }
  if (checkpoint !== undefined && state.step < schedule.steps) saveCheckpoint(checkpoint.path, checkpoint.run, state);
  return state.step;
}
