import { randomInt } from "node:crypto";

/**
 * Draws at random, each with the same chance and none twice, so that nobody can tell beforehand what is drawn.
 *
 * @param count How many; all of them where there are fewer.
 */
export function draw<T>(from: readonly T[], count: number): T[] {
  const left = [...from];
  return Array.from({ length: Math.min(count, left.length) }, () => left.splice(randomInt(left.length), 1)[0]);
}
