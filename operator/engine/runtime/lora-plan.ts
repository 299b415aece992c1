import type { LoraKind } from "../graph/lora-delta.ts";
import type { StepRow } from "./model-runner.ts";
import type { StepLayout } from "./step-layout.ts";

/** Every slot of a range is used by the same number of tokens, which stand in the order of the slots. */
export interface AlignedPlan {
  readonly kind: "aligned";
  readonly first: number;
  readonly count: number;
  readonly slotRows: number;
}

/** Which tokens of a step go through which slots, as the graph's inputs. */
export interface GatheredPlan {
  readonly kind: Exclude<LoraKind, "none" | "aligned">;
  /** First slot of the range that the run reads, and how many. */
  readonly first: number;
  readonly count: number;
  readonly slotRows: number;
  /** `[count, slotRows]`: token that each place of a slot computes. */
  readonly rows: Int32Array;
  /** `[count, slotRows, 1]`: factor on what is computed there. */
  readonly weights: Float32Array;
  /** Most adapters of one token. */
  readonly blend: number;
  /** `[tokens, blend]`: places whose results a token adds up. */
  readonly places: Int32Array;
}

interface Place {
  readonly token: number;
  readonly weight: number;
}

/**
 * Groups the tokens of a step by slot. Tokens without an adapter take places with weight zero where there is most
 * room, so that every place that a token reads was computed from that very token.
 *
 * @param minimumRows smallest number of places per slot (exact mode: see `GraphModelRunner`)
 * @param blendOnly plans every step as a blend, which serves all of them
 * @param fromZero makes the range of slots begin with slot 0
 * @returns null when no row uses an adapter
 */
export function planLora(
  { kind, rows, starts }: StepLayout,
  minimumRows: number,
  blendOnly: boolean,
  fromZero: boolean,
): AlignedPlan | GatheredPlan | null {
  const used = rows.flatMap(({ adapters }) => adapters.map(({ slot }) => slot));
  if (used.length === 0) return null;
  const aligned = kind === "ragged" ? null : alignedPlan(rows, starts, minimumRows, fromZero);
  if (aligned) return aligned;
  const gathered = gatheredPlan(rows, starts, minimumRows, fromZero ? [0, ...used] : used);
  return blendOnly ? { ...gathered, kind: "blend" } : gathered;
}

/** Products of one row round otherwise than products of several, so groups below the minimum are not aligned. */
function alignedPlan(
  rows: readonly StepRow[],
  starts: readonly number[],
  minimumRows: number,
  fromZero: boolean,
): AlignedPlan | null {
  if (rows.some(({ adapters }) => adapters.length !== 1 || adapters[0].weight !== 1)) return null;
  const first = fromZero ? 0 : rows[0].adapters[0].slot;
  const count = rows[rows.length - 1].adapters[0].slot - first + 1;
  const slotRows = starts[rows.length] / count;
  if (count < 1 || slotRows < minimumRows || !Number.isInteger(slotRows)) return null;
  const inOrder = rows.every(({ adapters: [{ slot }] }, i) => {
    const group = (slot - first) * slotRows;
    return starts[i] >= group && starts[i + 1] <= group + slotRows;
  });
  return inOrder ? { kind: "aligned", first, count, slotRows } : null;
}

function gatheredPlan(
  rows: readonly StepRow[],
  starts: readonly number[],
  minimumRows: number,
  used: readonly number[],
): GatheredPlan {
  const first = Math.min(...used);
  const count = Math.max(...used) - first + 1;
  const blend = Math.max(...rows.map(({ adapters }) => adapters.length));
  const groups: Place[][] = Array.from({ length: count }, () => []);
  const tokens = starts[rows.length];
  const groupOf = new Int32Array(tokens * blend);
  const indexOf = new Int32Array(tokens * blend);
  const place = (token: number, part: number, group: number, weight: number) => {
    groupOf[token * blend + part] = group;
    indexOf[token * blend + part] = groups[group].push({ token, weight }) - 1;
  };
  for (const [i, { adapters }] of rows.entries()) {
    for (const [part, { slot, weight }] of adapters.entries()) {
      for (let token = starts[i]; token < starts[i + 1]; token++) place(token, part, slot - first, weight);
    }
  }
  for (const [i, { adapters }] of rows.entries()) {
    for (let part = adapters.length; part < blend; part++) {
      for (let token = starts[i]; token < starts[i + 1]; token++) place(token, part, smallest(groups), 0);
    }
  }
  const slotRows = Math.max(minimumRows, ...groups.map((group) => group.length));
  const gathered = new Int32Array(count * slotRows);
  const weights = new Float32Array(count * slotRows);
  for (const [group, members] of groups.entries()) {
    for (const [index, { token, weight }] of members.entries()) {
      gathered[group * slotRows + index] = token;
      weights[group * slotRows + index] = weight;
    }
  }
  const places = groupOf.map((group, i) => group * slotRows + indexOf[i]);
  return { kind: blend === 1 ? "single" : "blend", first, count, slotRows, rows: gathered, weights, blend, places };
}

function smallest(groups: readonly Place[][]): number {
  let best = 0;
  for (let i = 1; i < groups.length; i++) if (groups[i].length < groups[best].length) best = i;
  return best;
}
