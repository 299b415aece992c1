/** Timings that stay comparable on a machine that is not quiet: what is compared takes turns within one run. */
import { performance } from "node:perf_hooks";
import { setTimeout as sleep } from "node:timers/promises";

/** One thing to measure: called once per iteration; what it returns is awaited. */
type Iteration = () => unknown;

export interface Turns {
  /** Times that every variant gets its turn. */
  readonly rounds: number;
  /** Iterations of one turn. */
  readonly iterations: number;
  /** Iterations before the first turn of each variant that are not counted. */
  readonly warmUp: number;
}

/** Milliseconds. */
interface Timing {
  readonly median: number;
  readonly p10: number;
  readonly p99: number;
  readonly iterations: number;
}

/** Runtimes leave threads spinning for a while after a run; those of one variant must not disturb the next. */
const SETTLE_MS = 20;

/**
 * Runs all variants in turn, round after round, and gives each one's timing. A disturbance of the machine then falls on
 * all of them, and the ratio of two medians stays what it is on a quiet one.
 */
export async function takeTurns<Name extends string>(
  variants: Readonly<Record<Name, Iteration>>,
  { rounds, iterations, warmUp }: Turns,
): Promise<Record<Name, Timing>> {
  const names = Object.keys(variants) as Name[];
  const samples = new Map<Name, number[]>(names.map((name) => [name, []]));
  for (const name of names) for (let i = 0; i < warmUp; i++) await variants[name]();
  for (let round = 0; round < rounds; round++) {
    for (const name of names) {
      await sleep(SETTLE_MS);
      // Not counted: it brings threads and caches back to this variant.
      await variants[name]();
      for (let i = 0; i < iterations; i++) {
        const start = performance.now();
        await variants[name]();
        samples.get(name)?.push(performance.now() - start);
      }
    }
  }
  return Object.fromEntries(names.map((name) => [name, summarise(samples.get(name) ?? [])])) as Record<Name, Timing>;
}

/** Median, tenth and ninety-ninth percentile of samples in milliseconds. */
export function summarise(samples: readonly number[]): Timing {
  return {
    median: percentile(samples, 0.5),
    p10: percentile(samples, 0.1),
    p99: percentile(samples, 0.99),
    iterations: samples.length,
  };
}

/** The smallest sample that at least the given share of samples does not exceed; NaN without samples. */
export function percentile(samples: readonly number[], share: number): number {
  if (samples.length === 0) return Number.NaN;
  const sorted = [...samples].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(share * sorted.length) - 1))];
}

/** Three significant digits: more would be noise. */
export function round3(value: number): number {
  return Number(value.toPrecision(3));
}
