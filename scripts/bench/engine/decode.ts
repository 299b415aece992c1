import type { Quantisation } from "../../../operator/engine/graph/matrices.ts";
import type { RowAdapter } from "../../../operator/engine/runtime/model-runner.ts";
import type { ShapeName } from "../shapes.ts";
import { round3, type Turns, takeTurns } from "../timing.ts";
import { openBenchRunner } from "./bench-runner.ts";
import { BenchRows } from "./rows.ts";

/** Tokens in every cache; a step adds one. */
const CACHED = 64;

/** Milliseconds of one decode step. */
export interface DecodeFigures {
  /** No adapter resident. */
  readonly base: number;
  /** All of the batch's adapters resident, no row uses one. */
  readonly loraUnused: number;
  readonly oneAdapter: number;
  readonly allDistinct: number;
}

/**
 * Decode steps of one shape at several batch sizes: without adapters, with adapters that nobody uses, all rows with
 * one adapter, every row with one of its own. All four take turns.
 */
export async function benchDecode(
  shape: ShapeName,
  quantisation: Quantisation,
  batches: readonly number[],
  turns: Turns,
): Promise<Record<string, DecodeFigures>> {
  const largest = Math.max(...batches);
  const size = { shape, quantisation, rows: largest, length: CACHED + 1 };
  const plain = await openBenchRunner({ ...size, slots: 0 });
  const lora = await openBenchRunner({ ...size, slots: largest });
  const rows = { plain: new BenchRows(plain, largest, CACHED + 1), lora: new BenchRows(lora, largest, CACHED + 1) };
  await rows.plain.fill(largest, CACHED);
  await rows.lora.fill(largest, CACHED);
  const figures: Record<string, DecodeFigures> = {};
  for (const batch of batches) {
    const uses = (slotOf: (row: number) => number[]): RowAdapter[][] =>
      Array.from({ length: batch }, (_, row) => slotOf(row).map((slot) => ({ slot, weight: 1 })));
    const [none, one, distinct] = [uses(() => []), uses(() => [0]), uses((row) => [row])];
    const timings = await takeTurns(
      {
        base: () => rows.plain.decode(CACHED, none),
        loraUnused: () => rows.lora.decode(CACHED, none),
        oneAdapter: () => rows.lora.decode(CACHED, one),
        allDistinct: () => rows.lora.decode(CACHED, distinct),
      },
      turns,
    );
    figures[`b${batch}`] = {
      base: round3(timings.base.median),
      loraUnused: round3(timings.loraUnused.median),
      oneAdapter: round3(timings.oneAdapter.median),
      allDistinct: round3(timings.allDistinct.median),
    };
  }
  await plain.close();
  await lora.close();
  return figures;
}
