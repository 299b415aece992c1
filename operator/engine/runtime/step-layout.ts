import type { AttentionKind } from "../graph/attention.ts";
import { attendedBlocks, attendsToAll, type SparseAttention } from "../model/sparse-attention.ts";
import type { StepRow } from "./model-runner.ts";

/** How the rows of a step lie in the graph's tensors. */
export interface StepLayout {
  readonly kind: AttentionKind;
  /** Rows as the graph sees them, those of a slot together; in exact mode one row may stand twice. */
  readonly rows: readonly StepRow[];
  /** Where each given row stands in `rows`. */
  readonly order: readonly number[];
  /** Token index at which each row starts, and the number of tokens at the end. */
  readonly starts: readonly number[];
  /** New tokens of the longest row. */
  readonly width: number;
  /** What tokens attend to; undefined for all before them. */
  readonly sparse: SparseAttention | undefined;
  /** For each row the indices of the blocks of cached tokens that are read for it, ascending. */
  readonly cachedBlocks: readonly Int32Array[];
  /** The most blocks that are read for a row, at least one. */
  readonly tableWidth: number;
  /** Tokens whose distribution is wanted, row after row. */
  readonly headRows: Int32Array;
  /** Where each row's wanted tokens start in `headRows`. */
  readonly headStarts: readonly number[];
  /** Where each row's scored tokens start in `scoreRows`. */
  readonly scoreStarts: readonly number[];
  /**
   * Indices into `headRows` that are scored, with their targets. Where normalisers are wanted any token will do: the
   * last one is scored.
   */
  readonly scoreRows: Int32Array;
  readonly targets: BigInt64Array;
}

/**
 * Lays out a step.
 * @param minimum smallest number of tokens and of wanted tokens; one row is doubled to reach two
 * @param raggedOnly lays every step out as ragged, which serves all of them
 * @param mayFlash whether a long row alone may be laid out as flash. GroupQueryAttention lets the past be shorter than
 *   its memory on the processor only: WebGPU gives wrong numbers, CUDA takes no float32.
 * @param sparse what tokens attend to. It has no place in flash, which serves rows that are too short to leave anything
 *   out: those are computed as without it, to the bit.
 */
export function layOut(
  given: readonly StepRow[],
  blockSize: number,
  minimum: 1 | 2,
  raggedOnly: boolean,
  mayFlash: boolean,
  sparse?: SparseAttention,
): StepLayout {
  const total = given.reduce((sum, row) => sum + row.tokens.length, 0);
  const sorted = given.map((_, i) => i).sort((a, b) => firstSlot(given[a]) - firstSlot(given[b]) || a - b);
  const rows = sorted.map((i) => given[i]);
  if (total < minimum) rows.push({ ...rows[0], logitsAt: new Int32Array(0), targets: undefined });
  const starts = [0];
  let width = 0;
  let isAllSeen = true;
  const cachedBlocks: Int32Array[] = [];
  for (const { tokens, past } of rows) {
    starts.push(starts[starts.length - 1] + tokens.length);
    width = Math.max(width, tokens.length);
    cachedBlocks.push(attendedBlocks(sparse, Math.floor(past / blockSize), Math.ceil(past / blockSize)));
    isAllSeen &&= !sparse || attendsToAll(sparse, Math.floor((past + tokens.length - 1) / blockSize));
  }
  const flashes = mayFlash && rows.length === 1 && isAllSeen;
  const head: number[] = [];
  const headStarts: number[] = [];
  const scoreStarts: number[] = [];
  const scored: number[] = [];
  const targets: number[] = [];
  for (const [i, row] of rows.entries()) {
    headStarts.push(head.length);
    scoreStarts.push(scored.length);
    for (const [j, offset] of row.logitsAt.entries()) {
      if (row.targets || row.normalised) {
        scored.push(head.length);
        targets.push(row.targets?.[j] ?? row.tokens[offset]);
      }
      head.push(starts[i] + offset);
    }
  }
  // The head always multiplies something: an empty product is not supported everywhere.
  while (head.length < minimum) head.push(head[0] ?? 0);
  return {
    kind: raggedOnly ? "ragged" : width === 1 ? "decode" : flashes ? "flash" : "ragged",
    rows,
    order: given.map((_, i) => sorted.indexOf(i)),
    starts,
    width,
    sparse,
    cachedBlocks,
    tableWidth: Math.max(1, ...cachedBlocks.map((blocks) => blocks.length)),
    headRows: Int32Array.from(head),
    headStarts,
    scoreStarts,
    scoreRows: Int32Array.from(scored),
    targets: BigInt64Array.from(targets, BigInt),
  };
}

function firstSlot({ adapters }: StepRow): number {
  return adapters[0]?.slot ?? -1;
}

/** Token index for each place of the padded grid `[rows, width]`, and the grid place of each token. */
export function raggedPlaces(layout: StepLayout): { padded: Int32Array; unpadded: Int32Array } {
  const { rows, starts, width } = layout;
  const padded = new Int32Array(rows.length * width);
  const unpadded = new Int32Array(starts[rows.length]);
  for (const [i, { tokens }] of rows.entries()) {
    for (let s = 0; s < width; s++) padded[i * width + s] = starts[i] + Math.min(s, tokens.length - 1);
    for (let s = 0; s < tokens.length; s++) unpadded[starts[i] + s] = i * width + s;
  }
  return { padded, unpadded };
}
