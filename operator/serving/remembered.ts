/** Milliseconds for which a failure is answered without another try. */
const FAILURE_LASTS = 30_000;
const MOST_ENTRIES = 1_000;

/**
 * What is made once and asked for by many at once. A failure is kept for half a minute, so that something that cannot be
 * had does not cost every job a fresh attempt.
 */
export class Remembered<T> {
  readonly #made = new Map<string, { readonly value: Promise<T>; failedAt?: number }>();

  get(key: string, make: () => Promise<T>): Promise<T> {
    const known = this.#made.get(key);
    if (known && (known.failedAt === undefined || Date.now() - known.failedAt < FAILURE_LASTS)) return known.value;
    const entry: { readonly value: Promise<T>; failedAt?: number } = { value: make() };
    entry.value.catch(() => {
      entry.failedAt = Date.now();
    });
    this.#made.delete(key);
    this.#made.set(key, entry);
    for (const oldest of this.#made.keys()) {
      if (this.#made.size <= MOST_ENTRIES) break;
      this.#made.delete(oldest);
    }
    return entry.value;
  }

  forget(key: string): void {
    this.#made.delete(key);
  }
}
