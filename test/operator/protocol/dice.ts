/** Repeatable randomness for worlds and batches: the same seed gives the same story on every machine. */
export interface Dice {
  /** 0 to n - 1. */
  below(n: number): number;
  /** From least to most, both possible. */
  between(least: number, most: number): number;
  chance(probability: number): boolean;
  pick<T>(list: readonly T[]): T;
  /** Some of a list, in its order. */
  some<T>(list: readonly T[], count: number): T[];
  shuffled<T>(list: readonly T[]): T[];
  bytes(length: number): Uint8Array;
  /** 0 to limit - 1. */
  bigBelow(limit: bigint): bigint;
  /** `count` positive numbers that sum to `total`. */
  partsOf(total: number, count: number): number[];
}

/** Dice by the seed (mulberry32). */
export function diceOf(seed: number): Dice {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return (t ^ (t >>> 14)) >>> 0;
  };
  const below = (n: number) => Math.floor((next() / 2 ** 32) * n);
  const shuffled = <T>(list: readonly T[]): T[] => {
    const copy = [...list];
    for (let i = copy.length - 1; i > 0; i--) {
      const j = below(i + 1);
      [copy[i], copy[j]] = [copy[j], copy[i]];
    }
    return copy;
  };
  const bytes = (length: number) => Uint8Array.from({ length }, () => below(256));
  return {
    below,
    between: (least, most) => least + below(most - least + 1),
    chance: (probability) => next() / 2 ** 32 < probability,
    pick: (list) => list[below(list.length)],
    some: (list, count) => {
      const chosen = new Set(shuffled(list.map((_, i) => i)).slice(0, count));
      return list.filter((_, i) => chosen.has(i));
    },
    shuffled,
    bytes,
    bigBelow: (limit) => bytes(40).reduce((sum, byte) => sum * 256n + BigInt(byte), 0n) % limit,
    partsOf: (total, count) => {
      const cuts = new Set<number>();
      while (cuts.size < count - 1) cuts.add(1 + below(total - 1));
      const ends = [...cuts].sort((a, b) => a - b);
      return [...ends, total].map((end, i) => end - (i === 0 ? 0 : ends[i - 1]));
    },
  };
}
