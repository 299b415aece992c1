import { performance } from "node:perf_hooks";
import type { FinishEvent, GenerateEvent, GenerateRequest, StartEvent, TokenEvent } from "../engine.ts";
import { TextStream } from "../sampling/text-stream.ts";
import type { HeldUses } from "./adapter-names.ts";
import { malformed } from "./json.ts";
import type { RemoteMetrics } from "./remote-metrics.ts";
import { cutStream, type RemoteEvent } from "./remote-protocol.ts";

const encoder = new TextEncoder();

/** One answer while it comes in: cuts stop strings, counts, and makes sure that every choice ended. */
export class Answer {
  private readonly held: HeldUses;
  private readonly seed: number;
  private readonly begun: number;
  private readonly counters: RemoteMetrics;
  private readonly texts: TextStream[];
  private readonly ended = new Set<number>();
  private readonly usage = { promptTokens: 0, cachedTokens: 0, completionTokens: 0 };
  private counted = 0;
  private usageKnown = false;
  private cutHere = false;
  private firstTokenMs: number | undefined;
  private readonly lastTokenAt: number[] = [];
  private promptTokenIds: readonly number[] | undefined;

  constructor(
    request: GenerateRequest,
    held: HeldUses,
    choices: number,
    seed: number,
    begun: number,
    counters: RemoteMetrics,
  ) {
    this.held = held;
    this.seed = seed;
    this.begun = begun;
    this.counters = counters;
    this.texts = Array.from({ length: choices }, () => new TextStream(request.stop ?? []));
    if ("tokens" in request.prompt) this.promptTokenIds = request.prompt.tokens;
  }

  async *events(first: IteratorResult<RemoteEvent>, rest: AsyncIterator<RemoteEvent>): AsyncGenerator<GenerateEvent> {
    let started = false;
    for (let next = first; !next.done; next = await rest.next()) {
      const event = next.value;
      if (event.type === "prompt") this.promptTokenIds ??= event.tokenIds;
      if (!started) yield this.start();
      started = true;
      if (event.type === "usage") this.addUsage(event);
      if (event.type === "token") yield* this.token(event);
      if (event.type === "finish") yield* this.finish(event);
      // A stop string that the server let pass has ended every choice here: what still comes is not wanted.
      if (this.ended.size === this.texts.length && this.cutHere) break;
    }
    if (this.ended.size < this.texts.length) throw cutStream("The server");
    yield this.done();
  }

  private start(): StartEvent {
    return {
      type: "start",
      ...(this.promptTokenIds && { promptTokenIds: this.promptTokenIds }),
      adapters: this.held.uses.map(({ id, weight, hash }) => ({ id, weight, ...(hash !== undefined && { hash }) })),
      seed: this.seed,
    };
  }

  private *token(event: RemoteEvent & { type: "token" }): Generator<TokenEvent | FinishEvent> {
    const { choice, tokenId, logprob } = event;
    const stream = this.texts[choice];
    if (stream === undefined) throw malformed("it answers a choice that nobody asked for", choice);
    if (this.ended.has(choice)) return;
    this.counted++;
    this.measure(choice);
    const piece = stream.push(encoder.encode(event.text));
    yield {
      type: "token",
      choice,
      ...(tokenId !== undefined && { tokenId }),
      text: piece.text,
      ...(logprob !== undefined && { logprob }),
    };
    if (piece.stopped === undefined) return;
    this.ended.add(choice);
    this.cutHere = true;
    yield { type: "finish", choice, reason: "stop", text: "", stopString: piece.stopped };
  }

  private *finish(event: RemoteEvent & { type: "finish" }): Generator<FinishEvent> {
    const { choice, reason, stopString } = event;
    const stream = this.texts[choice];
    if (stream === undefined) throw malformed("it ends a choice that nobody asked for", choice);
    if (this.ended.has(choice)) return;
    this.ended.add(choice);
    const { text, stopped = stopString } = stream.finish();
    yield { type: "finish", choice, reason, text, ...(stopped !== undefined && { stopString: stopped }) };
  }

  private addUsage(event: RemoteEvent & { type: "usage" }): void {
    this.usageKnown = true;
    // Choices asked for one by one each count the same prompt.
    this.usage.promptTokens = Math.max(this.usage.promptTokens, event.promptTokens);
    this.usage.cachedTokens = Math.max(this.usage.cachedTokens, event.cachedTokens);
    this.usage.completionTokens += event.completionTokens;
  }

  private measure(choice: number): void {
    const now = performance.now();
    const last = this.lastTokenAt[choice];
    if (last === undefined) this.counters.firstTokenAfter(now - this.begun);
    else this.counters.nextTokenAfter(now - last);
    this.lastTokenAt[choice] = now;
    this.firstTokenMs ??= now - this.begun;
  }

  private done(): GenerateEvent {
    const totalMs = performance.now() - this.begun;
    // A server that was cut off in the middle has not said what it counted.
    const complete = this.usageKnown && !this.cutHere;
    const usage = {
      promptTokens: complete ? this.usage.promptTokens : (this.promptTokenIds?.length ?? this.usage.promptTokens),
      cachedTokens: this.usage.cachedTokens,
      completionTokens: complete ? this.usage.completionTokens : this.counted,
    };
    this.counters.finished(totalMs, usage.promptTokens, usage.completionTokens);
    const firstTokenMs = this.firstTokenMs ?? totalMs;
    return { type: "done", usage, timings: { queuedMs: 0, firstTokenMs, totalMs, preemptions: 0 } };
  }
}
