import type { SequenceWork } from "./sequence.ts";

/** Log-probabilities of one continuation after one context. */
export class Scoring implements SequenceWork {
  private readonly contextLength: number;
  private readonly continuation: Int32Array;
  readonly logprobs: number[] = [];
  readonly ready = true;
  readonly error = undefined;

  constructor(contextLength: number, continuation: Int32Array) {
    this.contextLength = contextLength;
    this.continuation = continuation;
  }

  get done(): boolean {
    return this.logprobs.length === this.continuation.length;
  }

  get firstWanted(): number {
    return this.contextLength - 1 + this.logprobs.length;
  }

  wanted(from: number, to: number): { logitsAt: Int32Array; targets: Int32Array } {
    const start = Math.max(from, this.firstWanted);
    const end = Math.min(to, this.contextLength - 1 + this.continuation.length);
    const count = Math.max(0, end - start);
    const first = start - (this.contextLength - 1);
    return {
      logitsAt: Int32Array.from({ length: count }, (_, i) => start + i - from),
      targets: this.continuation.slice(first, first + count),
    };
  }

  take(_logits: Float32Array, logprobs: Float32Array): undefined {
    this.logprobs.push(...logprobs);
  }
}

/** In which order contexts are computed, and how much each shares with the one before it. */
interface ScoringPlan {
  /** Index of the context. */
  readonly context: number;
  /** Tokens in common with the entry before it in the plan, the last token of the context never among them. */
  readonly shared: number;
}

/**
 * Sorts contexts like words in a dictionary: each then shares its longest common beginning with its neighbour, and
 * computing only what differs from the neighbour visits every node of their trie once.
 */
export function planScoring(contexts: readonly Int32Array[]): ScoringPlan[] {
  const order = contexts.map((_, i) => i).sort((a, b) => compare(contexts[a], contexts[b]) || a - b);
  return order.map((context, i) => {
    const before = i === 0 ? undefined : contexts[order[i - 1]];
    const own = contexts[context];
    const shared = before === undefined ? 0 : Math.min(commonLength(before, own), own.length - 1);
    return { context, shared };
  });
}

function commonLength(a: Int32Array, b: Int32Array): number {
  const end = Math.min(a.length, b.length);
  let at = 0;
  while (at < end && a[at] === b[at]) at++;
  return at;
}

function compare(a: Int32Array, b: Int32Array): number {
  const at = commonLength(a, b);
  if (at === a.length || at === b.length) return a.length - b.length;
  return a[at] - b[at];
}
