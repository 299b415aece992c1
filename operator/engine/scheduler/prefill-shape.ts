import type { RowAdapter } from "../runtime/model-runner.ts";

/** Padded places per token that a step may have. */
const MAX_PADDING = 2;

/**
 * Products of a query with a key that padding may add, for each row: what they take is about what another step takes,
 * which reads all weights once more (15m shape, one core: 0.2 µs each against 5.5 ms).
 */
const WORTH_A_STEP = 32_768;

/** An input that is to be computed, or a chunk of one. */
interface InputRow {
  readonly adapters: readonly RowAdapter[];
  /** Its tokens in this step. */
  readonly count: number;
  /** Tokens of its sequence before them. */
  readonly past: number;
}

/**
 * Keeps inputs apart that would be expensive in one step. Attention is computed on a grid as wide as the longest row,
 * over as many cached positions as the row with the most has. Adapters are computed over the whole range of slots in
 * use, each with as many places as the slot with the most tokens needs.
 */
export class PrefillShape {
  private tokensBySlot = new Map<number, number>();
  private tokens = 0;
  private rows = 0;
  private width = 0;
  private past = 0;
  /** Products that the rows would take each in a step of its own. */
  private apart = 0;

  /** Adds a row where the step stays within bounds; the first row always fits. */
  accepts({ adapters, count, past }: InputRow): boolean {
    const slots = new Map(this.tokensBySlot);
    for (const { slot } of adapters) slots.set(slot, (slots.get(slot) ?? 0) + count);
    const rows = this.rows + 1;
    const tokens = this.tokens + count;
    const width = Math.max(this.width, count);
    const cached = Math.max(this.past, past);
    const apart = this.apart + count * (past + count);
    if (rows > 1) {
      if (rows * width * (cached + width) - apart > (rows - 1) * WORTH_A_STEP) return false;
      if (padded(slots) > MAX_PADDING * tokens) return false;
    }
    this.tokensBySlot = slots;
    [this.rows, this.tokens, this.width, this.past, this.apart] = [rows, tokens, width, cached, apart];
    return true;
  }
}

/** Places that adapters are computed in. */
function padded(tokensBySlot: ReadonlyMap<number, number>): number {
  if (tokensBySlot.size === 0) return 0;
  const slots = [...tokensBySlot.keys()];
  return (Math.max(...slots) - Math.min(...slots) + 1) * Math.max(...tokensBySlot.values());
}
