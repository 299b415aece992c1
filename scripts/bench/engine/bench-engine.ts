import { join } from "node:path";
import { type EmbeddedEngine, startEmbeddedEngine } from "../../../operator/engine/worker/embedded-engine.ts";
import { benchCache, modelFolder, type ShapeName } from "../shapes.ts";
import { RANK } from "./bench-runner.ts";

/** All that the engine may take: weights, caches, slots and adapters in host memory. */
export const MEMORY_BOUND = 4 * 2 ** 30;

/** The engine as the node runs it, in q4 and fast mode, with its defaults for a machine of this much memory. */
export function openBenchEngine(shape: ShapeName): Promise<EmbeddedEngine> {
  return startEmbeddedEngine({
    model: modelFolder(shape),
    quantisation: "q4",
    memoryBytes: MEMORY_BOUND,
    maxRank: RANK,
    cache: join(benchCache(), "graphs"),
  });
}
