/**
 * Interleaves several streams as their items come. When the loop is left, all of them are told to return; make their
 * pending reads end first (by aborting what they read), because a generator cannot return while it waits.
 */
export async function* mergeStreams<T>(sources: readonly AsyncIterable<T>[]): AsyncGenerator<T> {
  const iterators = sources.map((source) => source[Symbol.asyncIterator]());
  const read = (index: number) => {
    const next = iterators[index].next().then((result) => ({ index, result }));
    // Someone always awaits the race; a loser that fails later must not count as unhandled.
    next.catch(() => undefined);
    return next;
  };
  const pending = new Map(iterators.map((_, index) => [index, read(index)]));
  try {
    while (pending.size > 0) {
      const { index, result } = await Promise.race(pending.values());
      if (result.done) {
        pending.delete(index);
        continue;
      }
      pending.set(index, read(index));
      yield result.value;
    }
  } finally {
    await Promise.allSettled(iterators.map((iterator) => iterator.return?.()));
  }
}
