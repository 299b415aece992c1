import type { ModelConfig } from "../engine/model/config-types.ts";
import { RopeTable } from "../engine/model/rope.ts";
import type { BatchShape } from "./graph/decoder.ts";

/** Token ids of one text and how much each counts in the loss. */
export interface TokenRow {
  readonly tokens: Int32Array;
  /** Weight of predicting each token from those before it; the first is never predicted. */
  readonly weights: Float32Array;
}

/** Rows of one shape, padded at the end: attention looks back only, so that padding changes nothing. */
export interface Batch {
  readonly shape: BatchShape;
  readonly tokens: BigInt64Array;
  readonly targets: BigInt64Array;
  readonly weights: Float32Array;
}

/** Loss weights are multiplied by `scale`. @throws if a row is longer than the batch or there are too many rows. */
export function makeBatch(shape: BatchShape, rows: readonly TokenRow[], scale = 1): Batch {
  if (rows.length > shape.rows) throw new Error(`${rows.length} rows do not fit into ${shape.rows}.`);
  const count = shape.rows * shape.length;
  const batch = {
    shape,
    tokens: new BigInt64Array(count),
    targets: new BigInt64Array(count),
    weights: new Float32Array(count),
  };
  for (const [row, { tokens, weights }] of rows.entries()) {
    if (tokens.length > shape.length)
      throw new Error(`A row of ${tokens.length} tokens is longer than ${shape.length}.`);
    const start = row * shape.length;
    for (let i = 0; i < tokens.length; i++) {
      batch.tokens[start + i] = BigInt(tokens[i]);
      if (i === 0) continue;
      batch.targets[start + i - 1] = BigInt(tokens[i]);
      batch.weights[start + i - 1] = weights[i] * scale;
    }
  }
  return batch;
}

/** Sum of the loss weights of a row. */
export function rowWeight({ weights }: TokenRow): number {
  let total = 0;
  for (let i = 1; i < weights.length; i++) total += weights[i];
  return total;
}

/** Position ids of every row: 0, 1, 2, … */
export function positionIds({ rows, length }: BatchShape): BigInt64Array {
  return BigInt64Array.from({ length: rows * length }, (_, i) => BigInt(i % length));
}

/** Cosines and sines of positions 0 to length − 1. */
export function rotaryTables(config: ModelConfig, length: number): { cos: Float32Array; sin: Float32Array } {
  const cos = new Float32Array((length * config.headDim) / 2);
  const sin = new Float32Array(cos.length);
  new RopeTable(config).copyRows(0, length, cos, sin, 0);
  return { cos, sin };
}

/** Mask added to attention scores: 0 for the latest `window` tokens up to the token itself, a very low number elsewhere. */
export function attentionMask(config: ModelConfig, length: number, window: number | null): Float32Array {
  const group = config.heads / config.kvHeads;
  const mask = new Float32Array(group * length * length).fill(-1e9);
  for (let row = 0; row < group * length; row++) {
    const to = row % length;
    const from = window === null ? 0 : Math.max(0, to - window + 1);
    mask.fill(0, row * length + from, row * length + to + 1);
  }
  return mask;
}
