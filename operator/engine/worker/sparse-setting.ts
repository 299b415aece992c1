import { EngineError } from "../engine-error.ts";
import type { SparseAttention } from "../model/sparse-attention.ts";
import type { Provider } from "../runtime/session.ts";

/** A {@link SparsePattern} as an operator gives it. */
export interface SparseSetting {
  /** Default 1. */
  readonly sinkBlocks?: number | undefined;
  readonly localBlocks: number;
  /** Default 0: none. */
  readonly stride?: number | undefined;
}

/** More blocks than any sequence has: positions go up to 2^24. */
const MOST = 2 ** 24;

/**
 * Fills in the defaults.
 *
 * @throws EngineError `invalid_request` on numbers that make no sense, and off the processor
 */
export function resolveSparse(
  setting: SparseSetting | undefined,
  blockSize: number,
  provider: Provider,
): SparseAttention | undefined {
  if (setting === undefined) return undefined;
  if (provider !== "cpu") {
    throw new EngineError(
      "invalid_request",
      `setting sparse leaves blocks out on the processor only, and the provider is ${provider}; leave one of them out`,
    );
  }
  const { sinkBlocks = 1, localBlocks, stride = 0 } = setting;
  const whole = (name: string, value: number, least: number) => {
    if (Number.isInteger(value) && value >= least && value <= MOST) return;
    const expected = `not a whole number of blocks from ${least} to ${MOST}`;
    throw new EngineError("invalid_request", `setting sparse.${name} is ${value}, ${expected}`);
  };
  whole("sinkBlocks", sinkBlocks, 0);
  // A token's own block is one of them, and without it the first token would attend to nothing.
  whole("localBlocks", localBlocks, 1);
  whole("stride", stride, 0);
  return { blockSize, sinkBlocks, localBlocks, stride };
}
