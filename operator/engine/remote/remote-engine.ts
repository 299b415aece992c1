import { randomInt } from "node:crypto";
import { performance } from "node:perf_hooks";
import type {
  AdapterInfo,
  AdapterSource,
  Engine,
  EngineInfo,
  GenerateEvent,
  GenerateRequest,
  ScoreRequest,
  ScoreResult,
} from "../engine.ts";
import { EngineError } from "../engine-error.ts";
import type { MetricFamily } from "../metrics.ts";
import { type AdapterHash, AdapterNames, type HeldUses } from "./adapter-names.ts";
import { Answer } from "./answer.ts";
import { mergeStreams } from "./merge-streams.ts";
import { RemoteMetrics } from "./remote-metrics.ts";
import type { GenerateCall, RemoteEvent, RemoteProtocol, ServerFacts } from "./remote-protocol.ts";

interface RemoteEngineOptions {
  /** Address to print; without credentials. */
  readonly address: string;
  /** Requests in flight at most; more are refused as `overloaded`. Default 512. */
  readonly maxInFlight?: number;
  readonly hashOf: AdapterHash;
}

/** An `Engine` in front of a server: what all servers have in common, over what is particular to one. */
export class RemoteEngine implements Engine {
  private readonly protocol: RemoteProtocol;
  private readonly facts: ServerFacts;
  private readonly options: RemoteEngineOptions;
  private readonly names: AdapterNames;
  private readonly counters: RemoteMetrics;
  private readonly inFlight = new Set<AbortController>();
  private readonly closing = new AbortController();
  private draining = false;
  private idle: (() => void)[] = [];

  constructor(protocol: RemoteProtocol, facts: ServerFacts, options: RemoteEngineOptions) {
    this.protocol = protocol;
    this.facts = facts;
    this.options = options;
    this.names = new AdapterNames(protocol, options.hashOf);
    this.counters = new RemoteMetrics(facts.model, protocol.kind);
  }

  async info(): Promise<EngineInfo> {
    const { model, maxContextTokens, vocabSize, version } = this.facts;
    return {
      kind: this.protocol.kind,
      model,
      ...(maxContextTokens !== undefined && { maxContextTokens }),
      ...(vocabSize !== undefined && { vocabSize }),
      // Other machines batch as they like: nothing here can promise bit-equal answers.
      exact: false,
      supports: this.protocol.supports,
      settings: {
        address: this.options.address,
        maxInFlight: this.options.maxInFlight ?? 512,
        ...(version !== undefined && { version }),
      },
    };
  }

  async *generate(request: GenerateRequest, signal?: AbortSignal): AsyncGenerator<GenerateEvent> {
    const begun = performance.now();
    const job = this.begin(signal);
    let held: HeldUses | undefined;
    let deltas: AsyncIterator<RemoteEvent> | undefined;
    try {
      const choices = request.n ?? 1;
      if (!Number.isInteger(choices) || choices < 1 || choices > 128) {
        throw new EngineError("invalid_request", "n is a whole number from 1 to 128");
      }
      held = await this.names.hold(request.adapters ?? [], job.signal);
      const seed = request.sampling?.seed ?? randomInt(2 ** 31);
      const opened = await this.open(
        { request, server: this.facts, adapters: held.uses, choices, seed },
        held,
        job.signal,
      );
      deltas = opened.rest;
      yield* new Answer(request, held, choices, seed, begun, this.counters).events(opened.first, deltas);
    } catch (error) {
      const known = job.signal.aborted ? EngineError.from(job.signal.reason) : EngineError.from(error);
      this.counters.failed(known.code);
      throw known;
    } finally {
      // Aborting first: a stream that waits for the server could not be told to return.
      job.abort(new EngineError("cancelled", "The request was given up"));
      await deltas?.return?.().catch(() => undefined);
      held?.release();
      this.end(job);
    }
  }

  async score(request: ScoreRequest, signal?: AbortSignal): Promise<ScoreResult> {
    if (this.protocol.score === undefined) {
      throw new EngineError(
        "unsupported",
        `${this.protocol.kind} gives no log-probabilities of a prompt: it cannot score`,
      );
    }
    const job = this.begin(signal);
    let held: HeldUses | undefined;
    try {
      held = await this.names.hold(request.adapters ?? [], job.signal);
      const call = { request, server: this.facts, adapters: held.uses };
      return await this.protocol.score(call, job.signal).catch(async (error) => {
        if (!(await this.loadedAgain(error, held as HeldUses, job.signal))) throw error;
        return (this.protocol.score as NonNullable<RemoteProtocol["score"]>)(call, job.signal);
      });
    } catch (error) {
      const known = job.signal.aborted ? EngineError.from(job.signal.reason) : EngineError.from(error);
      this.counters.failed(known.code);
      throw known;
    } finally {
      held?.release();
      this.end(job);
    }
  }

  async loadAdapter(source: AdapterSource): Promise<AdapterInfo> {
    this.refuseWhenEnding();
    return this.names.load(source, this.closing.signal);
  }

  async prefetchAdapter(id: string): Promise<void> {
    // Loading made the server read it; how long it keeps it is the server's own affair.
    this.names.require(id);
  }

  async pinAdapter(id: string, pinned: boolean): Promise<void> {
    if (this.names.require(id).pinned === pinned) return;
    throw new EngineError("unsupported", `${this.protocol.kind} pins an adapter when it is loaded or not at all`);
  }

  async unloadAdapter(id: string): Promise<void> {
    await this.names.unload(id, this.closing.signal);
  }

  async adapters(): Promise<AdapterInfo[]> {
    return this.names.list(this.closing.signal);
  }

  async metrics(): Promise<MetricFamily[]> {
    return this.counters.families(this.inFlight.size, this.names.running());
  }

  async drain(): Promise<void> {
    this.draining = true;
    if (this.inFlight.size > 0) await new Promise<void>((resolve) => this.idle.push(resolve));
  }

  async close(): Promise<void> {
    if (this.closing.signal.aborted) return;
    this.closing.abort(new EngineError("closed", "The engine was closed"));
    // A caller that has stopped reading never ends its request: nothing here waits for callers.
    for (const job of this.inFlight) job.abort(this.closing.signal.reason);
    for (const resolve of this.idle.splice(0)) resolve();
  }

  /** Opens the stream up to its first event, loading adapters again that the server has lost since. */
  private async open(call: GenerateCall, held: HeldUses, signal: AbortSignal) {
    const attempt = async () => {
      const rest = this.stream(call, signal)[Symbol.asyncIterator]();
      return { first: await rest.next(), rest };
    };
    return attempt().catch(async (error) => {
      if (!(await this.loadedAgain(error, held, signal))) throw error;
      return attempt();
    });
  }

  private async loadedAgain(error: unknown, held: HeldUses, signal: AbortSignal): Promise<boolean> {
    if (!(error instanceof EngineError && error.code === "unknown_adapter") || signal.aborted) return false;
    if (!(await held.reload(signal))) return false;
    this.counters.reloaded();
    return true;
  }

  private stream(call: GenerateCall, signal: AbortSignal): AsyncIterable<RemoteEvent> {
    if (this.protocol.severalChoices || call.choices === 1) return this.protocol.generate(call, signal);
    const open = (each: AbortSignal) =>
      Array.from({ length: call.choices }, (_, choice) => {
        const seed = call.seed === undefined ? undefined : (call.seed + choice) % 2 ** 31;
        return renumbered(this.protocol.generate({ ...call, choices: 1, seed }, each), choice);
      });
    return mergeStreams(open, signal);
  }

  private begin(signal: AbortSignal | undefined): AbortController & { detach?: () => void } {
    this.refuseWhenEnding();
    if (signal?.aborted) throw new EngineError("cancelled", "The request was cancelled");
    const limit = this.options.maxInFlight ?? 512;
    if (this.inFlight.size >= limit) throw new EngineError("overloaded", `${limit} requests are in flight already`);
    const job: AbortController & { detach?: () => void } = new AbortController();
    const cancel = () => job.abort(new EngineError("cancelled", "The request was cancelled"));
    signal?.addEventListener("abort", cancel, { once: true });
    job.detach = () => signal?.removeEventListener("abort", cancel);
    this.inFlight.add(job);
    return job;
  }

  private end(job: AbortController & { detach?: () => void }): void {
    job.detach?.();
    this.inFlight.delete(job);
    if (this.inFlight.size > 0) return;
    for (const resolve of this.idle.splice(0)) resolve();
  }

  private refuseWhenEnding(): void {
    if (this.closing.signal.aborted) throw this.closing.signal.reason;
    if (this.draining) throw new EngineError("draining", "The engine takes nothing new");
  }
}

async function* renumbered(events: AsyncIterable<RemoteEvent>, choice: number): AsyncGenerator<RemoteEvent> {
  for await (const event of events) yield "choice" in event ? { ...event, choice } : event;
}
