import { LORA_TARGETS } from "../../engine/model/lora.ts";
import type { LoraPlan } from "../graph/training-graph.ts";

/** Everything that decides an adapter's numbers, beside the data, the base model and the number of threads. */
export interface AdapterSettings {
  readonly lora: LoraPlan;
  /** Passes over the training documents. */
  readonly epochs: number;
  /** Rows whose gradients are added for one step. */
  readonly rowsPerStep: number;
  /** Most tokens that go through the model at once: memory against speed. */
  readonly tokensPerBatch: number;
  /** Longest row, in tokens. */
  readonly maxLength: number;
  readonly learningRate: number;
  /** Share of the steps in which the learning rate rises. */
  readonly warmup: number;
  readonly weightDecay: number;
  readonly clip: number;
  /** Share of the documents kept apart to measure the loss on. */
  readonly evaluation: number;
  readonly seed: number;
}

export const DEFAULT_ADAPTER_SETTINGS: AdapterSettings = {
  lora: { rank: 8, alpha: 16, targets: LORA_TARGETS },
  epochs: 3,
  rowsPerStep: 16,
  tokensPerBatch: 2048,
  maxLength: 1024,
  learningRate: 5e-4,
  warmup: 0.05,
  weightDecay: 0,
  clip: 1,
  evaluation: 0.1,
  seed: 1,
};
