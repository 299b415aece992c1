import { parameterCount, SHAPES, type ShapeName } from "../shapes.ts";
import { round3, type Turns, takeTurns } from "../timing.ts";
import { openBenchRunner } from "./bench-runner.ts";
import { MemoryReader } from "./memory-bandwidth.ts";
import { BenchRows } from "./rows.ts";

interface RooflineFigures {
  /** Gigabytes of weights that one step reads. */
  readonly weightsGb: number;
  readonly stepMs: number;
  /** Gigabytes per second: reading as much plain memory, and the weights during a step. */
  readonly memoryGbPerS: number;
  readonly weightsGbPerS: number;
  readonly share: number;
}

/**
 * Share of the memory bandwidth that decode in f32 at batch 1 reaches. Every weight is read once a step (the tied
 * embedding by the head); a plain reading of as many bytes takes turns with the steps.
 */
export async function benchRoofline(shape: ShapeName, turns: Turns): Promise<RooflineFigures> {
  const runner = await openBenchRunner({ shape, quantisation: "f32", rows: 1, length: 64, slots: 0 });
  const rows = new BenchRows(runner, 1, 64);
  await rows.fill(1, 32);
  const bytes = parameterCount(SHAPES[shape]) * 4;
  const memory = new MemoryReader(bytes);
  const timings = await takeTurns({ read: () => memory.pass(), step: () => rows.decode(32, [[]]) }, turns);
  await runner.close();
  const memoryRate = memory.bytes / timings.read.median;
  const weightRate = bytes / timings.step.median;
  return {
    weightsGb: round3(bytes / 1e9),
    stepMs: round3(timings.step.median),
    memoryGbPerS: round3(memoryRate / 1e6),
    weightsGbPerS: round3(weightRate / 1e6),
    share: round3(weightRate / memoryRate),
  };
}
