/** Blocks of one request for logs. */
export interface BlockRange {
  fromBlock: bigint;
  toBlock: bigint;
}

/** Logs from the newest block back to the first, so many blocks in one request: what is looked for is recent. */
export async function* newestFirst<T>(
  first: bigint,
  newest: bigint,
  maxRange: number,
  read: (range: BlockRange) => Promise<readonly T[]>,
): AsyncGenerator<T> {
  for (let toBlock = newest; toBlock >= first; toBlock -= BigInt(maxRange)) {
    const from = toBlock - BigInt(maxRange) + 1n;
    yield* await read({ fromBlock: from > first ? from : first, toBlock });
  }
}
