import { EngineError } from "../engine-error.ts";

/**
 * Interleaves several streams as their items come. When the loop is left, or one of them fails, the signal that they
 * were opened with fires: a generator that waits for its peer could not be told to return.
 */
export async function* mergeStreams<T>(
  open: (signal: AbortSignal) => readonly AsyncIterable<T>[],
  signal: AbortSignal,
): AsyncGenerator<T> {
  const leaving = new AbortController();
  const iterators = open(AbortSignal.any([signal, leaving.signal])).map((source) => source[Symbol.asyncIterator]());
  const read = (index: number) => {
    const next = iterators[index].next().then((result) => ({ index, result }));
    // One that fails while nobody awaits the race must not count as unhandled.
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
    leaving.abort(new EngineError("cancelled", "Another choice of the request ended it"));
    await Promise.allSettled(iterators.map((iterator) => iterator.return?.()));
  }
}
