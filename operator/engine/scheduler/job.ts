import type { AdapterTicket } from "../adapters/adapter-ticket.ts";
import type { GenerateEvent, ScoreResult } from "../engine.ts";
import type { EngineError } from "../engine-error.ts";
import type { GrammarSession } from "../sampling/grammar.ts";
import type { SamplingParameters } from "../sampling/sampling-parameters.ts";

/** One adapter of a job: the claim on it, and its weight. */
export interface JobAdapter {
  readonly ticket: AdapterTicket;
  readonly weight: number;
}

interface JobBase {
  readonly adapters: readonly JobAdapter[];
  readonly payer: string;
  /** Called at most once; nothing else is called after it. */
  fail(error: EngineError): void;
}

/** A request for text, tokenised and checked. */
export interface GenerateJob extends JobBase {
  readonly kind: "generate";
  /** At least one token. */
  readonly prompt: Int32Array;
  readonly sampling: SamplingParameters;
  readonly maxTokens: number;
  /** Tokens that end a choice and are no part of it. */
  readonly stopTokens: ReadonlySet<number>;
  readonly stops: readonly string[];
  readonly choices: number;
  /** Number of likeliest tokens to report beside the chosen one; undefined: no log-probabilities. */
  readonly logprobs: number | undefined;
  /** One per choice, where the answer must follow a grammar. */
  readonly grammars: readonly GrammarSession[];
  emit(event: GenerateEvent): void;
}

/** A request for log-probabilities, tokenised and checked. */
export interface ScoreJob extends JobBase {
  readonly kind: "score";
  /** At least one token each. */
  readonly contexts: readonly Int32Array[];
  /** At least one token. */
  readonly continuation: Int32Array;
  done(result: ScoreResult): void;
}

export type Job = GenerateJob | ScoreJob;
