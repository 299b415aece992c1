/** Counters of keys that do not wait, before the sweep for those that no longer matter. */
const REMEMBERED = 1024;

/**
 * Service received so far, by payer or by adapter, as in "Fairness in Serving Large Language Models" (Sheng et al.,
 * OSDI 2024, algorithm 2): who has received least is served next, and who comes back from a pause is lifted to the least
 * of those still waiting, so that nobody saves up.
 */
export class VirtualCounters {
  private readonly values = new Map<string, number>();
  private readonly waiting = new Map<string, number>();
  /** The last known least value, for those who come when nobody waits. */
  private floor = 0;

  /** One more request of `key` waits. */
  enter(key: string): void {
    const count = this.waiting.get(key) ?? 0;
    if (count === 0) this.values.set(key, Math.max(this.value(key), this.least()));
    this.waiting.set(key, count + 1);
  }

  /** One request of `key` waits no longer. */
  leave(key: string): void {
    const left = this.waiting.get(key)! - 1;
    if (left > 0) {
      this.waiting.set(key, left);
      return;
    }
    this.floor = this.least();
    this.waiting.delete(key);
    if (this.values.size > 2 * this.waiting.size + REMEMBERED) this.forget();
  }

  charge(key: string, cost: number): void {
    this.values.set(key, this.value(key) + cost);
  }

  value(key: string): number {
    return this.values.get(key) ?? this.floor;
  }

  /** A counter at or below the least is lifted to it when its key comes back: dropping it changes nothing. */
  private forget(): void {
    const least = this.least();
    for (const [key, value] of this.values) {
      if (value <= least && !this.waiting.has(key)) this.values.delete(key);
    }
  }

  private least(): number {
    let least = Number.POSITIVE_INFINITY;
    for (const key of this.waiting.keys()) least = Math.min(least, this.value(key));
    return Number.isFinite(least) ? least : this.floor;
  }
}
