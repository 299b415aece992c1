import type { Timings } from "../engine.ts";
import { EngineError } from "../engine-error.ts";
import { Generation, type Vocabulary } from "./generation.ts";
import type { Job, JobAdapter } from "./job.ts";
import { planScoring, Scoring } from "./scoring.ts";
import { Sequence, type SequenceJob } from "./sequence.ts";

/** Bounds that one sequence must keep, in tokens. */
interface SequenceBounds {
  /** Longest sequence: what the model's positions and the pool of blocks allow. */
  readonly maxTokens: number;
}

/** A job that was accepted: its sequences, and what is counted until it ends. */
export class ActiveJob implements SequenceJob {
  readonly job: Job;
  readonly arrival: number;
  readonly adapterKey: string;
  readonly sequences: readonly Sequence<ActiveJob>[];
  /** Milliseconds of the scheduler's clock. */
  readonly submittedAt: number;
  admittedAt: number | undefined;
  firstTokenAt: number | undefined;
  lastTokenAt: number | undefined;
  preemptions = 0;
  cachedTokens = 0;
  ended = false;

  /** @throws EngineError `context_too_long` */
  constructor(job: Job, arrival: number, now: number, bounds: SequenceBounds, vocabulary: Vocabulary) {
    this.job = job;
    this.arrival = arrival;
    this.submittedAt = now;
    // Names, not contents: who is served next is about whom it helps, not about bytes.
    this.adapterKey = job.adapters
      .map((adapter) => adapter.ticket.id)
      .sort()
      .join("\n");
    this.sequences = job.kind === "generate" ? this.generations(job, bounds, vocabulary) : this.scorings(job, bounds);
  }

  get payer(): string {
    return this.job.payer;
  }

  get adapters(): readonly JobAdapter[] {
    return this.job.adapters;
  }

  get promptTokens(): number {
    if (this.job.kind === "generate") return this.job.prompt.length;
    const { contexts, continuation } = this.job;
    return contexts.reduce((sum, context) => sum + context.length + continuation.length, 0);
  }

  get completionTokens(): number {
    let tokens = 0;
    for (const { work } of this.sequences) if (work instanceof Generation) tokens += work.generated;
    return tokens;
  }

  timings(now: number): Timings {
    return {
      queuedMs: (this.admittedAt ?? now) - this.submittedAt,
      firstTokenMs: (this.firstTokenAt ?? now) - this.submittedAt,
      totalMs: now - this.submittedAt,
      preemptions: this.preemptions,
    };
  }

  /** Log-probabilities by context, in the order of the request. Only for a score job whose sequences have ended. */
  scores(): readonly (readonly number[])[] {
    const scores: (readonly number[])[] = [];
    for (const [i, { context }] of this.plan.entries()) {
      scores[context] = (this.sequences[i].work as Scoring).logprobs;
    }
    return scores;
  }

  private generations(
    job: Extract<Job, { kind: "generate" }>,
    { maxTokens }: SequenceBounds,
    vocabulary: Vocabulary,
  ): Sequence<ActiveJob>[] {
    const room = maxTokens - job.prompt.length;
    if (room < 1) throw tooLong(job.prompt.length, maxTokens);
    const limit = Math.min(job.maxTokens, room);
    const sequences: Sequence<ActiveJob>[] = [];
    for (let choice = 0; choice < job.choices; choice++) {
      const work = new Generation(job, choice, limit, vocabulary);
      const fork = choice === 0 ? undefined : { from: sequences[0], length: job.prompt.length - 1 };
      sequences.push(new Sequence<ActiveJob>(this, work, job.prompt, job.prompt.length + limit, fork));
    }
    return sequences;
  }

  private plan: readonly { context: number }[] = [];

  private scorings(job: Extract<Job, { kind: "score" }>, { maxTokens }: SequenceBounds): Sequence<ActiveJob>[] {
    const sequences: Sequence<ActiveJob>[] = [];
    const plan = planScoring(job.contexts);
    this.plan = plan;
    for (const { context, shared } of plan) {
      const tokens = job.contexts[context];
      // The continuation's last token is a target only.
      const input = new Int32Array(tokens.length + job.continuation.length - 1);
      input.set(tokens);
      input.set(job.continuation.subarray(0, -1), tokens.length);
      if (input.length > maxTokens) throw tooLong(input.length, maxTokens);
      const fork = shared === 0 ? undefined : { from: sequences.at(-1)!, length: shared };
      const work = new Scoring(tokens.length, job.continuation);
      sequences.push(new Sequence<ActiveJob>(this, work, input, input.length, fork));
    }
    return sequences;
  }
}

function tooLong(tokens: number, limit: number): EngineError {
  return new EngineError("context_too_long", `${tokens} tokens do not fit: a sequence has room for ${limit}`, {
    tokens,
    limit,
  });
}
