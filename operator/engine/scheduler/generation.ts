import type { FinishReason, TokenLogprob } from "../engine.ts";
import { EngineError } from "../engine-error.ts";
import type { GrammarSession } from "../sampling/grammar.ts";
import { positionLogprobs } from "../sampling/logprobs.ts";
import type { Sampler } from "../sampling/sampler.ts";
import { TextStream } from "../sampling/text-stream.ts";
import type { TokenBytes } from "../sampling/token-bytes.ts";
import { TokenHistory } from "../sampling/token-history.ts";
import type { GenerateJob } from "./job.ts";
import type { SequenceWork } from "./sequence.ts";

/** What the sampling of all sequences shares. */
export interface Vocabulary {
  readonly sampler: Sampler;
  readonly tokens: TokenBytes;
}

/** One choice of a `GenerateJob`: samples tokens, turns them into text, and knows when it is over. */
export class Generation implements SequenceWork {
  private readonly job: GenerateJob;
  private readonly choice: number;
  private readonly vocabulary: Vocabulary;
  private readonly text: TextStream;
  private readonly history: TokenHistory | undefined;
  private readonly limit: number;
  /** Tokens of the answer so far. */
  generated = 0;
  done = false;

  /** @param limit tokens to generate at most */
  constructor(job: GenerateJob, choice: number, limit: number, vocabulary: Vocabulary) {
    this.job = job;
    this.choice = choice;
    this.limit = limit;
    this.vocabulary = vocabulary;
    this.text = new TextStream(job.stops);
    const { repetitionPenalty, presencePenalty, frequencyPenalty } = job.sampling;
    const penalised = repetitionPenalty !== 1 || presencePenalty !== 0 || frequencyPenalty !== 0;
    this.history = penalised ? new TokenHistory(job.prompt) : undefined;
  }

  get firstWanted(): number {
    return this.job.prompt.length + this.generated - 1;
  }

  get ready(): boolean {
    return this.grammar?.ready ?? true;
  }

  get error(): EngineError | undefined {
    return this.grammar?.error;
  }

  private get grammar(): GrammarSession | undefined {
    return this.job.grammars.at(this.choice);
  }

  wanted(from: number, to: number): { logitsAt: Int32Array; normalised: boolean } {
    const at = this.firstWanted;
    const logitsAt = at >= from && at < to ? Int32Array.of(at - from) : NOWHERE;
    return { logitsAt, normalised: this.job.logprobs !== undefined };
  }

  take(logits: Float32Array, _logprobs: Float32Array, normalisers: Float32Array): number | undefined {
    if (logits.length === 0) return undefined;
    const { job, choice, grammar } = this;
    if (grammar?.finished) {
      this.end("stop");
      return undefined;
    }
    const plain = job.logprobs === undefined ? undefined : logits.slice();
    const token = this.vocabulary.sampler.sample(
      logits,
      job.sampling,
      this.history,
      grammar?.mask(),
      choice,
      this.generated,
    );
    if (job.stopTokens.has(token)) {
      this.end("stop");
      return undefined;
    }
    this.history?.add(token);
    grammar?.accept(token);
    const bytes = this.bytesOf(token, this.generated === 0);
    this.generated++;
    const piece = this.text.push(bytes);
    const logprob = plain === undefined ? undefined : this.logprobOf(plain, normalisers[0], token);
    job.emit({ type: "token", choice, tokenId: token, text: piece.text, ...(logprob && { logprob }) });
    if (piece.stopped !== undefined) {
      this.done = true;
      job.emit({ type: "finish", choice, reason: "stop", text: "", stopString: piece.stopped });
      return undefined;
    }
    if (this.generated >= this.limit) {
      this.end("length");
      return undefined;
    }
    return token;
  }

  private end(reason: FinishReason): void {
    this.done = true;
    const { text, stopped } = this.text.finish();
    const { choice } = this;
    if (stopped === undefined) this.job.emit({ type: "finish", choice, reason, text });
    else this.job.emit({ type: "finish", choice, reason: "stop", text, stopString: stopped });
  }

  private bytesOf(token: number, first: boolean): Uint8Array {
    const { bytes, dropFirstSpace } = this.vocabulary.tokens;
    const own = bytes[token];
    if (own === undefined) throw new EngineError("failed", `token ${token} is outside the vocabulary`);
    return first && dropFirstSpace && own[0] === SPACE ? own.subarray(1) : own;
  }

  private logprobOf(logits: Float32Array, normaliser: number, token: number): TokenLogprob & { top: TokenLogprob[] } {
    const { chosen, top } = positionLogprobs(logits, normaliser, token, this.job.logprobs!);
    return { ...this.written(token, chosen), top: top.map((entry) => this.written(entry.tokenId, entry.logprob)) };
  }

  private written(tokenId: number, logprob: number): TokenLogprob {
    const bytes = this.bytesOf(tokenId, false);
    return { tokenId, token: new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes), bytes: [...bytes], logprob };
  }
}

const NOWHERE = new Int32Array(0);
const SPACE = 0x20;
