import type { StepRow } from "./model-runner.ts";

/** Which tokens of a step go through which slots, as the graph's inputs. */
export interface LoraPlan {
  /** First slot of the range that the run reads, and how many. */
  readonly first: number;
  readonly count: number;
  /** `[count, slotRows]`: token that each place of a slot computes. */
  readonly rows: Int32Array;
  readonly slotRows: number;
  /** `[tokens, blend]`: where a token's updates were computed. */
  readonly places: Int32Array;
  /** `[tokens, 1, blend]`: factor on each. */
  readonly weights: Float32Array;
  readonly blend: number;
}

/**
 * Groups the tokens of a step by slot. Tokens without an adapter take places with weight zero where there is most
 * room, so that every place that a token reads was computed from that very token.
 *
 * @param starts first token of each row, and the number of tokens at the end
 * @param minimumRows smallest group, see {@link GraphModelRunner} on exactness
 * @returns null when no row uses an adapter
 */
export function planLora(rows: readonly StepRow[], starts: readonly number[], minimumRows: number): LoraPlan | null {
  let first = Number.POSITIVE_INFINITY;
  let last = -1;
  let blend = 1;
  for (const { adapters } of rows) {
    blend = Math.max(blend, adapters.length);
    for (const { slot } of adapters) {
      first = Math.min(first, slot);
      last = Math.max(last, slot);
    }
  }
  if (last < 0) return null;
  const count = last - first + 1;
  const groups: number[][] = Array.from({ length: count }, () => []);
  const tokens = starts[rows.length];
  const weights = new Float32Array(tokens * blend);
  const slotOf = new Int32Array(tokens * blend);
  const indexOf = new Int32Array(tokens * blend);
  const place = (token: number, part: number, group: number, weight: number) => {
    slotOf[token * blend + part] = group;
    indexOf[token * blend + part] = groups[group].push(token) - 1;
    weights[token * blend + part] = weight;
  };
  for (const [i, { adapters }] of rows.entries()) {
    for (const [part, { slot, weight }] of adapters.entries()) {
      for (let token = starts[i]; token < starts[i + 1]; token++) place(token, part, slot - first, weight);
    }
  }
  for (const [i, { adapters }] of rows.entries()) {
    for (let token = starts[i]; token < starts[i + 1]; token++) {
      if (adapters.length === 0) place(token, 0, smallest(groups), 0);
      // Unused parts repeat the first one with weight zero.
      for (let part = Math.max(1, adapters.length); part < blend; part++) {
        slotOf[token * blend + part] = slotOf[token * blend];
        indexOf[token * blend + part] = indexOf[token * blend];
      }
    }
  }
  const slotRows = Math.max(minimumRows, ...groups.map((group) => group.length));
  const gathered = new Int32Array(count * slotRows);
  for (const [group, members] of groups.entries()) gathered.set(members, group * slotRows);
  return {
    first,
    count,
    rows: gathered,
    slotRows,
    places: slotOf.map((g, i) => g * slotRows + indexOf[i]),
    weights,
    blend,
  };
}

function smallest(groups: readonly number[][]): number {
  let best = 0;
  for (let i = 1; i < groups.length; i++) if (groups[i].length < groups[best].length) best = i;
  return best;
}
