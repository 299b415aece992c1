import { GradientSession } from "../../../operator/training/gradient-session.ts";
import { planBatches } from "../../../operator/training/lora/batch-plan.ts";
import type { MuonSettings } from "../../../operator/training/muon.ts";
import { type StepReport, train } from "../../../operator/training/trainer.ts";
import { randomRows, randomWeights, TINY } from "./tiny-model.ts";

export interface TinyRun {
  steps: number;
  seed?: number;
  muon?: MuonSettings;
  /** Checkpoint file; every other step is saved. */
  path?: string;
  run?: string;
  signal?: AbortSignal;
  onStep?: (report: StepReport) => unknown;
}

/** Trains all weights of the tiny model on rows of mixed lengths. @returns the weights. */
export async function runTiny(options: TinyRun): Promise<Float32Array> {
  const { steps, seed = 1, muon, path, run = "tiny", signal, onStep } = options;
  const base = randomWeights(TINY, 3, 0.1);
  const rows = randomRows(TINY, 6, [5, 14, 9, 20, 7]);
  const plan = planBatches({ rows, rowsPerStep: 3, tokensPerBatch: 48, epochs: steps, seed });
  const session = new GradientSession({ config: TINY, base, threads: 1 });
  await train({
    session,
    optimizer: { beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weightDecay: 0.1 },
    schedule: { peak: 2e-2, warmup: 3, steps, floor: 0.1 },
    ...(muon === undefined ? {} : { muon }),
    clip: 1,
    batches: plan.batches,
    ...(path === undefined ? {} : { checkpoint: { path, every: 2, run } }),
    ...(signal === undefined ? {} : { signal }),
    onStep: (report) => void onStep?.(report),
  });
  await session.close();
  return base.values;
}

if (process.argv[1] === import.meta.filename) {
  await runTiny({ path: process.argv[2], steps: Number(process.argv[3]) });
}
