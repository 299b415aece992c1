import { HIDDEN } from "../graph/attention.ts";
import { attendsTo, type SparseAttention } from "../model/sparse-attention.ts";
import type { StepLayout } from "./step-layout.ts";

/**
 * Additive mask `[rows, 1, width, tableWidth · blockSize + width]` over cached and new positions.
 * @param window how many latest tokens, itself included, a token sees; null for all
 */
export function raggedMask(layout: StepLayout, blockSize: number, window: number | null): Float32Array {
  const { rows, width, tableWidth, sparse, cachedBlocks } = layout;
  const cached = tableWidth * blockSize;
  const columns = cached + width;
  const mask = new Float32Array(rows.length * width * columns).fill(HIDDEN);
  for (const [i, { past, tokens }] of rows.entries()) {
    for (let s = 0; s < tokens.length; s++) {
      const start = (i * width + s) * columns;
      const position = past + s;
      const oldest = window === null ? 0 : Math.max(0, position + 1 - window);
      if (sparse) {
        showBlocks(mask.subarray(start, start + columns), sparse, cachedBlocks[i], { position, oldest, past, cached });
        continue;
      }
      mask.fill(0, start + Math.min(oldest, past), start + past);
      mask.fill(0, start + cached + Math.max(0, oldest - past), start + cached + s + 1);
    }
  }
  return mask;
}

/** One token's line of the mask: positions from `oldest` to its own in the blocks that it attends to. */
function showBlocks(
  line: Float32Array,
  sparse: SparseAttention,
  cachedBlocks: Int32Array,
  { position, oldest, past, cached }: { position: number; oldest: number; past: number; cached: number },
): void {
  const { blockSize } = sparse;
  const own = Math.floor(position / blockSize);
  const show = (block: number, column: number, from: number, to: number) => {
    const first = Math.max(oldest, from, block * blockSize);
    const end = Math.min(to, (block + 1) * blockSize);
    if (first < end && attendsTo(sparse, own, block)) line.fill(0, column + first, column + end);
  };
  for (const [i, block] of cachedBlocks.entries()) show(block, (i - block) * blockSize, 0, past);
  for (let block = Math.floor(past / blockSize); block <= own; block++) show(block, cached - past, past, position + 1);
}
