import { availableParallelism } from "node:os";
import { join } from "node:path";
import type { Quantisation } from "../../../operator/engine/graph/matrices.ts";
import { readAdapter } from "../../../operator/engine/model/adapter-folder.ts";
import type { SparsePattern } from "../../../operator/engine/model/sparse-attention.ts";
import { createModelRunner, type GraphModelRunner } from "../../../operator/engine/runtime/graph-model-runner.ts";
import { adapterFolder, benchCache, modelFolder, type ShapeName } from "../shapes.ts";

export const BLOCK_SIZE = 64;
/** Rank of the adapters in all benchmarks; all seven matrices of a layer are adapted. */
export const RANK = 16;

interface BenchRunnerOptions {
  readonly shape: ShapeName;
  readonly quantisation: Quantisation;
  /** Sequences of `length` tokens that the key-value pool holds. */
  readonly rows: number;
  readonly length: number;
  /** Adapters made resident in slots 0 … slots − 1. */
  readonly slots: number;
  readonly sparse?: SparsePattern;
}

/** The runner as the engine uses it on this machine: all cores, fast mode. */
export async function openBenchRunner(options: BenchRunnerOptions): Promise<GraphModelRunner> {
  const { shape, quantisation, rows, length, slots, sparse } = options;
  const runner = await createModelRunner({
    model: modelFolder(shape),
    quantisation,
    exact: false,
    threads: availableParallelism(),
    blocks: rows * Math.ceil(length / BLOCK_SIZE),
    blockSize: BLOCK_SIZE,
    slots: Math.max(1, slots),
    maxRank: RANK,
    sparse,
    cache: join(benchCache(), "graphs"),
  });
  for (let slot = 0; slot < slots; slot++) {
    runner.loadSlot(slot, readAdapter(adapterFolder(shape, slot, { rank: RANK }), runner.config));
  }
  return runner;
}
