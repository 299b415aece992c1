/**
 * Which blocks of the past a token attends to, in blocks of keys and values. A sequence is cut at multiples of the block
 * size, whatever computes it. A token of block q attends to the positions up to its own that lie in a block k with
 *
 *     k < sinkBlocks,  or  q − k < localBlocks,  or  stride > 0 and (k + 1) mod stride = 0
 *
 * in every layer and head. Local blocks and the vertical stride are those of Phi-3-small (Abdin et al. 2024, section 2;
 * `blocksparse_num_local_blocks`, `blocksparse_vert_stride`), which also shifts the stride from head to head and keeps
 * every second layer dense; after Child et al. 2019 and Longformer (Beltagy et al. 2020). Blocks that everybody sees are
 * BigBird's global ones (Zaheer et al. 2020), at the beginning of the text the attention sinks of StreamingLLM (Xiao et
 * al. 2023). Positions stay what they are.
 */
export interface SparsePattern {
  /** First blocks, which everybody attends to. */
  readonly sinkBlocks: number;
  /** Latest blocks, the token's own included; at least one. */
  readonly localBlocks: number;
  /** Every so many-th block is attended to by everybody after it: blocks stride − 1, 2 · stride − 1, … 0: none. */
  readonly stride: number;
}

/** A pattern with the size of its blocks: all that decides what is left out. */
export interface SparseAttention extends SparsePattern {
  /** Tokens. */
  readonly blockSize: number;
}

/** In the place of a block that was given back because nobody attends to it any more. */
export const NO_BLOCK = -1;

/** Whether tokens of block `query` attend to block `key`, of the same index or a smaller one. */
export function attendsTo({ sinkBlocks, localBlocks, stride }: SparsePattern, query: number, key: number): boolean {
  return key < sinkBlocks || query - key < localBlocks || (stride > 0 && (key + 1) % stride === 0);
}

/** Whether tokens of block `query` attend to all before them. */
export function attendsToAll(pattern: SparsePattern, query: number): boolean {
  for (let key = pattern.sinkBlocks; key <= query - pattern.localBlocks; key++) {
    if (!attendsTo(pattern, query, key)) return false;
  }
  return true;
}

/**
 * Indices of the first `cached` blocks that tokens of block `query` attend to, ascending; without a pattern all. Tokens
 * of later blocks attend to no others among them.
 */
export function attendedBlocks(pattern: SparsePattern | undefined, query: number, cached: number): Int32Array {
  const blocks = new Int32Array(cached);
  let count = 0;
  for (let key = 0; key < cached; key++) {
    if (pattern === undefined || attendsTo(pattern, query, key)) blocks[count++] = key;
  }
  return blocks.subarray(0, count);
}

/** As the command line takes it. */
export function describePattern({ sinkBlocks, localBlocks, stride }: SparsePattern): string {
  return `${sinkBlocks},${localBlocks},${stride}`;
}
