import { type Batch, makeBatch, rowWeight, type TokenRow } from "../batch.ts";
import { seeded } from "../random.ts";

export interface BatchPlanOptions {
  readonly rows: readonly TokenRow[];
  /** Rows whose gradients are added for one step. */
  readonly rowsPerStep: number;
  /** Most tokens that go through the model at once, padding included. */
  readonly tokensPerBatch: number;
  readonly epochs: number;
  readonly seed: number;
}

/** Which rows each step trains on. */
export interface BatchPlan {
  readonly steps: number;
  /** Batches of a step, from 0; depends on the step's number and the plan's options only. */
  batches(step: number): Batch[];
}

/** Padded lengths: few, because every batch shape has a session of its own. */
const LENGTHS = [16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096];

/**
 * Shuffles the rows anew in every epoch and cuts them into steps. Within a step rows of like length share a batch.
 *
 * @throws if there are no rows, or one is longer than 4,096 tokens.
 */
export function planBatches({ rows, rowsPerStep, tokensPerBatch, epochs, seed }: BatchPlanOptions): BatchPlan {
  if (rows.length === 0) throw new Error("There is nothing to train on.");
  const perEpoch = Math.ceil(rows.length / rowsPerStep);
  const order = (epoch: number): TokenRow[] => seeded(seed, "epoch", epoch).shuffled(rows);
  let latest = { epoch: 0, rows: order(0) };
  return {
    steps: perEpoch * epochs,
    batches(step) {
      const epoch = Math.floor(step / perEpoch);
      if (latest.epoch !== epoch) latest = { epoch, rows: order(epoch) };
      const first = (step % perEpoch) * rowsPerStep;
      return fillBatches(latest.rows.slice(first, first + rowsPerStep), rowsPerStep, tokensPerBatch);
    },
  };
}

/** Puts rows into batches, long ones first; the loss weights of all batches add up to one. */
export function fillBatches(rows: readonly TokenRow[], mostRows: number, tokensPerBatch: number): Batch[] {
  const total = rows.reduce((sum, row) => sum + rowWeight(row), 0);
  const byLength = [...rows].sort((a, b) => b.tokens.length - a.tokens.length);
  const batches: Batch[] = [];
  for (let at = 0; at < byLength.length; ) {
    const length = paddedLength(byLength[at].tokens.length);
    const shape = { rows: Math.max(1, Math.min(mostRows, Math.floor(tokensPerBatch / length))), length };
    batches.push(makeBatch(shape, byLength.slice(at, at + shape.rows), 1 / total));
    at += shape.rows;
  }
  return batches;
}

/** The shortest batch length that holds a row. */
function paddedLength(length: number): number {
  const padded = LENGTHS.find((candidate) => candidate >= length);
  if (padded === undefined) throw new Error(`A row of ${length} tokens is longer than ${LENGTHS.at(-1)}.`);
  return padded;
}
