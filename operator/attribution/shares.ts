import { MAX_CONTEXT_ENTRIES, MAX_TOOL_ENTRIES, MAX_TRAINING_ENTRIES, PPM } from "../protocol/bounds.ts";
import type { AttributionEntry } from "../protocol/receipt.ts";

/** What one earner did for an answer. */
export interface Effect {
  readonly id: number;
  /** See `AttributionEntry.via`. */
  readonly via: number;
  /** Millionths of a nat. An integer; only positive ones earn. */
  readonly effect: number;
}

/** Entries that each pool of a receipt holds at most. */
export const POOL_LIMITS = {
  context: MAX_CONTEXT_ENTRIES,
  training: MAX_TRAINING_ENTRIES,
  tool: MAX_TOOL_ENTRIES,
} as const;

/**
 * Turns effects into the entries of one pool, as docs/protocol.md section 5 wants them: at most `limit`, strictly
 * ascending by id, each at least 1 part per million, together exactly 1,000,000, or none where nothing helped.
 *
 * The largest effects are kept (equal ones by smaller id), those too small for 1 ppm are dropped, and what whole parts
 * leave over goes by largest remainder, then smaller id. Effects of one id are added; it keeps its smallest `via`.
 *
 * @throws {RangeError} When an effect is no safe integer.
 */
export function poolEntries(effects: readonly Effect[], limit: number): AttributionEntry[] {
  let kept = positive(effects)
    .sort((a, b) => compare(b.effect, a.effect) || a.id - b.id)
    .slice(0, limit);
  let total = sum(kept);
  for (;;) {
    const enough = kept.filter(({ effect }) => effect * BigInt(PPM) >= total);
    if (enough.length === kept.length) break;
    kept = enough;
    total = sum(kept);
  }
  if (kept.length === 0) return [];
  const parts = kept.map(({ id, via, effect }) => {
    const scaled = effect * BigInt(PPM);
    return { id, via, ppm: Number(scaled / total), remainder: scaled % total };
  });
  let left = PPM - parts.reduce((sum, { ppm }) => sum + ppm, 0);
  for (const part of [...parts].sort((a, b) => compare(b.remainder, a.remainder) || a.id - b.id)) {
    if (left === 0) break;
    part.ppm += 1;
    left -= 1;
  }
  return parts.sort((a, b) => a.id - b.id).map(({ id, ppm, via }) => ({ id, ppm, via }));
}

interface Total {
  readonly id: number;
  via: number;
  effect: bigint;
}

function positive(effects: readonly Effect[]): Total[] {
  const totals = new Map<number, Total>();
  for (const { id, via, effect } of effects) {
    if (!Number.isSafeInteger(effect)) throw new RangeError(`The effect of ${id} is ${effect}, not a safe integer`);
    if (effect <= 0) continue;
    const total = totals.get(id);
    if (!total) totals.set(id, { id, via, effect: BigInt(effect) });
    else {
      total.effect += BigInt(effect);
      total.via = Math.min(total.via, via);
    }
  }
  return [...totals.values()];
}

function sum(list: readonly Total[]): bigint {
  return list.reduce((total, { effect }) => total + effect, 0n);
}

function compare(a: bigint, b: bigint): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
