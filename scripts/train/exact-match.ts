import { makeBatch, type TokenRow } from "../../operator/training/batch.ts";
import type { GradientSession } from "../../operator/training/gradient-session.ts";

/** A prompt and the one answer that counts as right. */
export interface ExactItem {
  readonly prompt: readonly number[];
  readonly answer: readonly number[];
}

const ROWS = 16;

/**
 * Which answers a model gives to the token when it always takes the likeliest next one.
 *
 * The right answer is shown and every one of its tokens must be the likeliest after those before it: then, and only
 * then, greedy generation from the prompt writes exactly this answer.
 */
export async function exactMatches(session: GradientSession, items: readonly ExactItem[]): Promise<boolean[]> {
  const longest = Math.max(...items.map(({ prompt, answer }) => prompt.length + answer.length));
  const shape = { rows: ROWS, length: Math.ceil(longest / 32) * 32 };
  const results: boolean[] = [];
  for (let from = 0; from < items.length; from += ROWS) {
    const part = items.slice(from, from + ROWS);
    const rows = part.map(({ prompt, answer }): TokenRow => {
      const tokens = Int32Array.from([...prompt, ...answer]);
      return { tokens, weights: new Float32Array(tokens.length) };
    });
    const { predictions } = await session.predict(makeBatch(shape, rows));
    for (const [row, { prompt, answer }] of part.entries()) {
      const first = row * shape.length + prompt.length - 1;
      results.push(answer.every((token, i) => Number(predictions[first + i]) === token));
    }
  }
  return results;
}

/** Share of true values. */
export const share = (values: readonly boolean[]): number => values.filter(Boolean).length / values.length;
