import { ServingError } from "./served-job.ts";

/** Milliseconds for which a failure is answered without another try. */
const FAILURE_LASTS = 30_000;
const MOST_ENTRIES = 1_000;

/**
 * What is made once and asked for by many at once. That something cannot be had is remembered for half a minute, so that
 * it does not cost every job a fresh attempt; other failures are this machine's, and the next asker tries again.
 */
export class Remembered<T> {
  readonly #made = new Map<string, { readonly value: Promise<T>; failedAt?: number }>();

  get(key: string, make: () => Promise<T>): Promise<T> {
    const known = this.#made.get(key);
    if (known && (known.failedAt === undefined || performance.now() - known.failedAt < FAILURE_LASTS))
      return known.value;
    const entry: { readonly value: Promise<T>; failedAt?: number } = { value: make() };
    entry.value.catch((error: unknown) => {
      if (error instanceof ServingError) entry.failedAt = performance.now();
      else if (this.#made.get(key) === entry) this.#made.delete(key);
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
