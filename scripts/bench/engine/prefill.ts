import type { Quantisation } from "../../../operator/engine/graph/matrices.ts";
import type { ShapeName } from "../shapes.ts";
import { round3, type Turns, takeTurns } from "../timing.ts";
import { openBenchRunner } from "./bench-runner.ts";
import { BenchRows } from "./rows.ts";

/** The scheduler's chunk of a long prompt, in tokens. */
const CHUNK = 256;

/** Milliseconds to read a prompt of each length, in chunks as the scheduler does. */
export async function benchPrefill(
  shape: ShapeName,
  quantisation: Quantisation,
  lengths: readonly number[],
  turns: Turns,
): Promise<Record<string, number>> {
  const longest = Math.max(...lengths);
  const runner = await openBenchRunner({ shape, quantisation, rows: 1, length: longest, slots: 0 });
  const rows = new BenchRows(runner, 1, longest);
  const variants = Object.fromEntries(lengths.map((length) => [`p${length}`, () => rows.fill(1, length, CHUNK)]));
  const timings = await takeTurns(variants, turns);
  await runner.close();
  return Object.fromEntries(Object.entries(timings).map(([name, { median }]) => [name, round3(median)]));
}

interface AttentionFigures {
  /** Milliseconds of one decode step after 64 and after 2,048 cached tokens. */
  readonly decodeAt64: number;
  readonly decodeAt2048: number;
  /** Milliseconds of a prefill chunk at the beginning and at the end of a prompt of 2,048 tokens. */
  readonly firstChunk: number;
  readonly lastChunk: number;
  /** What the longer past adds to the time of a token, as a share of it: decode, and prefill. */
  readonly decodeShare: number;
  readonly prefillShare: number;
}

/** What attention over 2,048 tokens costs, against the same step over a short past. */
export async function benchAttention(
  shape: ShapeName,
  quantisation: Quantisation,
  turns: Turns,
): Promise<AttentionFigures> {
  const length = 2048 + 1;
  const runner = await openBenchRunner({ shape, quantisation, rows: 1, length, slots: 0 });
  const rows = new BenchRows(runner, 1, length);
  await rows.fill(1, 2048, CHUNK);
  const timings = await takeTurns(
    {
      decodeAt2048: () => rows.decode(2048, [[]]),
      decodeAt64: () => rows.decode(64, [[]]),
      lastChunk: () => rows.prefill(0, 2048 - CHUNK, CHUNK, []),
      firstChunk: () => rows.prefill(0, 0, CHUNK, []),
    },
    turns,
  );
  await runner.close();
  const ms = (name: keyof typeof timings) => round3(timings[name].median);
  const share = (short: number, long: number) => round3(1 - short / long);
  return {
    decodeAt64: ms("decodeAt64"),
    decodeAt2048: ms("decodeAt2048"),
    firstChunk: ms("firstChunk"),
    lastChunk: ms("lastChunk"),
    decodeShare: share(timings.decodeAt64.median, timings.decodeAt2048.median),
    prefillShare: share(timings.firstChunk.median, timings.lastChunk.median),
  };
}
