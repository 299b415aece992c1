/**
 * Row `row` of a table `[rows, kvHeads, width]`: where each head's blocks lie in a pool `[blocks, kvHeads, …]`, padded
 * with the block of zeros.
 */
export function fillTable(
  table: Int32Array,
  row: number,
  width: number,
  blocks: Int32Array,
  used: number,
  kvHeads: number,
  zeroBlock: number,
): void {
  for (let head = 0; head < kvHeads; head++) {
    const start = (row * kvHeads + head) * width;
    for (let i = 0; i < width; i++) table[start + i] = (i < used ? blocks[i] : zeroBlock) * kvHeads + head;
  }
}

/**
 * Rows of a pool `[blocks · kvHeads · blockSize, headDim]` that hold `count` positions from `past` on, heads of a
 * position together, written to `target` from `start` on.
 */
export function fillPlaces(
  target: BigInt64Array,
  start: number,
  blocks: Int32Array,
  past: number,
  count: number,
  kvHeads: number,
  blockSize: number,
): void {
  let next = start;
  for (let position = past; position < past + count; position++) {
    const block = blocks[Math.floor(position / blockSize)];
    for (let head = 0; head < kvHeads; head++) {
      target[next++] = BigInt((block * kvHeads + head) * blockSize + (position % blockSize));
    }
  }
}
