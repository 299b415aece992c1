import type { ModelConfig } from "../model/config-types.ts";
import type { LoadedAdapter } from "../model/lora.ts";
import type { SparseAttention } from "../model/sparse-attention.ts";

/** An adapter of a row: the slot it was loaded into, and the factor on its update (1 = as trained). */
export interface RowAdapter {
  readonly slot: number;
  readonly weight: number;
}

/** One row of a ragged step: `tokens.length` new tokens of one sequence, after `past` tokens already in the cache. */
export interface StepRow {
  /** New token ids, at least one. */
  readonly tokens: Int32Array;
  /** Tokens of this sequence whose keys and values are in `blocks` already. */
  readonly past: number;
  /**
   * Block ids in the pool, in the order of positions, covering `past + tokens.length` positions; `NO_BLOCK` where no
   * token of the row attends to it.
   */
  readonly blocks: Int32Array;
  /** Empty: the base model. Several: a blend, their updates are added with their weights. */
  readonly adapters: readonly RowAdapter[];
  /** Offsets into `tokens` after which the next-token distribution is wanted. */
  readonly logitsAt: Int32Array;
  /**
   * Scoring: one token id per entry of `logitsAt`, whose log-probability is wanted there. Such a row gets
   * `logprobs` and no `logits`.
   */
  readonly targets?: Int32Array;
  /** Beside its logits, such a row gets the `normalisers` that make log-probabilities of them. Not with targets. */
  readonly normalised?: boolean;
}

/** What a step computed, one entry per row in the order of the rows. The arrays are reused by the next step. */
export interface StepOutput {
  /** `[logitsAt.length, vocabSize]`, row major; empty for scoring rows. */
  readonly logits: Float32Array[];
  /** `[logitsAt.length]`, natural logarithms; empty for rows without targets. */
  readonly logprobs: Float32Array[];
  /** `[logitsAt.length]`, log Σ e^logit: less than this, a logit is its token's log-probability. Empty where not wanted. */
  readonly normalisers: Float32Array[];
  /**
   * False when the row's numbers overflowed (a broken adapter). Its outputs mean nothing and its request must fail;
   * other rows are not touched by it.
   */
  readonly finite: boolean[];
}

export interface RunnerLimits {
  /** Blocks in the pool that rows may use: ids 0 to blocks - 1. */
  readonly blocks: number;
  /** Tokens per block. */
  readonly blockSize: number;
  /** Adapters that can be resident at once: slots 0 to slots - 1. */
  readonly slots: number;
  /** Largest rank a slot takes. */
  readonly maxRank: number;
  /** Longest sequence in tokens, as far as the model's positions go. */
  readonly maxPositions: number;
}

/** Memory that a runner holds, in bytes. */
export interface RunnerMemory {
  /** Packed weights of the graphs loaded so far. */
  readonly weights: number;
  readonly kv: number;
  readonly adapters: number;
}

/**
 * Runs steps of one model. It belongs to the thread that made it and computes synchronously inside `step`: put it in
 * a worker. It checks what it is given and throws before anything is computed, so a bad step changes nothing.
 */
export interface ModelRunner {
  readonly config: ModelConfig;
  readonly limits: RunnerLimits;
  readonly memory: RunnerMemory;
  /** What tokens attend to; undefined: to all before them, as the model was made. */
  readonly sparse?: SparseAttention | undefined;
  /** Computes the rows, writes their keys and values into their blocks. @throws on rows that make no sense. */
  step(rows: readonly StepRow[]): Promise<StepOutput>;
  /** Copies an adapter into a slot, replacing what was there. @throws if its rank or shapes do not fit. */
  loadSlot(slot: number, adapter: LoadedAdapter): void;
  /** Empties a slot: rows may not name it until it is loaded again. */
  clearSlot(slot: number): void;
  /** Copies one block's keys and values of every layer, for copy-on-write of shared blocks. */
  copyBlock(from: number, to: number): void;
  close(): Promise<void>;
}
