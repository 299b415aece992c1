/** Which tokens a sequence has seen, for the penalties. Grows with the answer; the prompt is fixed. */
export class TokenHistory {
  /** Tokens of prompt and answer. */
  readonly seen: Set<number>;
  /** Occurrences in the answer alone. */
  readonly answerCounts = new Map<number, number>();

  constructor(prompt: Iterable<number>) {
    this.seen = new Set(prompt);
  }

  add(token: number): void {
    this.seen.add(token);
    this.answerCounts.set(token, (this.answerCounts.get(token) ?? 0) + 1);
  }
}
