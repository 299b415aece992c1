import type { RowAdapter } from "../runtime/model-runner.ts";

/** Padded places per token that a step may have. */
const MAX_PADDING = 2;

/**
 * Keeps inputs apart that would be expensive in one step: adapters are computed over the whole range of slots in use,
 * each with as many places as the slot with the most tokens needs.
 */
export class PrefillShape {
  private readonly tokensBySlot = new Map<number, number>();
  private tokens = 0;

  /** Adds a row where the step stays within bounds; the first row always fits. */
  accepts(adapters: readonly RowAdapter[], count: number): boolean {
    const slots = new Map(this.tokensBySlot);
    for (const { slot } of adapters) slots.set(slot, (slots.get(slot) ?? 0) + count);
    const tokens = this.tokens + count;
    if (this.tokens > 0 && slots.size > 0) {
      const range = Math.max(...slots.keys()) - Math.min(...slots.keys()) + 1;
      if (range * Math.max(...slots.values()) > MAX_PADDING * tokens) return false;
    }
    for (const [slot, sum] of slots) this.tokensBySlot.set(slot, sum);
    this.tokens = tokens;
    return true;
  }
}
