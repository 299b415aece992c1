import { Worker } from "node:worker_threads";
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
import { EventQueue } from "./event-queue.ts";
import { type Answer, type Call, ENGINE_KEY, type PlainError, type ThreadData, type ToThread } from "./messages.ts";
import type { EngineSettings } from "./settings.ts";

interface Pending {
  resolve(value: unknown): void;
  reject(error: EngineError): void;
}

/**
 * Starts the engine that runs inside this process, on a thread of its own: the caller's thread never waits for a step.
 *
 * @param adapters registered at once and read when first asked for; thousands are fine
 * @throws EngineError `invalid_request` on settings that make no sense or do not fit, `failed` where the model folder
 *   cannot be served
 */
export async function startEmbeddedEngine(
  settings: EngineSettings,
  adapters: readonly AdapterSource[] = [],
): Promise<EmbeddedEngine> {
  const workerData: ThreadData = { settings, adapters };
  const engine = new EmbeddedEngine(new Worker(new URL("./engine-thread.ts", import.meta.url), { workerData }));
  try {
    await engine.info();
  } catch (error) {
    await engine.terminate();
    throw error;
  }
  return engine;
}

/** An {@link Engine} whose thread is in this process. */
export class EmbeddedEngine implements Engine {
  private readonly worker: Worker;
  private readonly calls = new Map<number, Pending>();
  private readonly streams = new Map<number, EventQueue<GenerateEvent>>();
  private readonly ready = Promise.withResolvers<EngineInfo>();
  private nextKey = 0;
  private over: EngineError | undefined;

  constructor(worker: Worker) {
    this.worker = worker;
    // Whoever waits for it gets the error; that nobody does is no fault.
    this.ready.promise.catch(() => {});
    worker.on("message", (answers: Answer[]) => {
      for (const answer of answers) this.take(answer);
    });
    worker.on("error", (error) => this.end(new EngineError("failed", `the engine's thread broke: ${error.message}`)));
    worker.on("exit", () => this.end(new EngineError("closed", "the engine has ended")));
  }

  info(): Promise<EngineInfo> {
    return this.ready.promise;
  }

  async *generate(request: GenerateRequest, signal?: AbortSignal): AsyncGenerator<GenerateEvent, void, undefined> {
    if (this.over !== undefined) throw this.over;
    if (signal?.aborted) throw cancelled(signal);
    const key = this.nextKey++;
    const events = new EventQueue<GenerateEvent>();
    this.streams.set(key, events);
    const abort = () => events.fail(cancelled(signal));
    signal?.addEventListener("abort", abort, { once: true });
    let finished = false;
    try {
      this.send({ key, kind: "generate", request });
      for await (const event of events) {
        finished = event.type === "done";
        yield event;
      }
    } finally {
      signal?.removeEventListener("abort", abort);
      this.streams.delete(key);
      if (!finished && this.over === undefined) this.send({ key, kind: "cancel" });
    }
  }

  score(request: ScoreRequest, signal?: AbortSignal): Promise<ScoreResult> {
    return this.call({ method: "score", request }, signal);
  }

  loadAdapter(source: AdapterSource): Promise<AdapterInfo> {
    return this.call({ method: "loadAdapter", source });
  }

  /** Makes many adapters known without reading them. */
  registerAdapters(sources: readonly AdapterSource[]): Promise<void> {
    return this.call({ method: "registerAdapters", sources });
  }

  prefetchAdapter(id: string): Promise<void> {
    return this.call({ method: "prefetchAdapter", id });
  }

  pinAdapter(id: string, pinned: boolean): Promise<void> {
    return this.call({ method: "pinAdapter", id, pinned });
  }

  unloadAdapter(id: string): Promise<void> {
    return this.call({ method: "unloadAdapter", id });
  }

  adapters(): Promise<AdapterInfo[]> {
    return this.call({ method: "adapters" });
  }

  metrics(): Promise<MetricFamily[]> {
    return this.call({ method: "metrics" });
  }

  drain(): Promise<void> {
    return this.call({ method: "drain" });
  }

  async close(): Promise<void> {
    if (this.over !== undefined) return;
    await this.call({ method: "close" }).catch(() => {});
    await this.terminate();
  }

  /** Ends the thread whatever it does. */
  async terminate(): Promise<void> {
    this.end(new EngineError("closed", "the engine was closed"));
    await this.worker.terminate();
  }

  private call<T>(call: Call, signal?: AbortSignal): Promise<T> {
    if (this.over !== undefined) return Promise.reject(this.over);
    if (signal?.aborted) return Promise.reject(cancelled(signal));
    const key = this.nextKey++;
    return new Promise<T>((resolve, reject) => {
      const abort = () => {
        this.calls.delete(key);
        this.send({ key, kind: "cancel" });
        reject(cancelled(signal));
      };
      signal?.addEventListener("abort", abort, { once: true });
      const settle = () => signal?.removeEventListener("abort", abort);
      this.calls.set(key, {
        resolve: (value) => {
          settle();
          resolve(value as T);
        },
        reject: (error) => {
          settle();
          reject(error);
        },
      });
      try {
        this.send({ key, kind: "call", call });
      } catch (error) {
        this.calls.delete(key);
        settle();
        reject(error);
      }
    });
  }

  private send(message: ToThread): void {
    try {
      this.worker.postMessage(message);
    } catch (error) {
      // Functions and the like inside a request.
      throw EngineError.from(error, "invalid_request");
    }
  }

  private take(answer: Answer): void {
    if (answer.kind === "ready") {
      this.ready.resolve(answer.info);
      return;
    }
    if (answer.kind === "error" && answer.key === ENGINE_KEY) {
      this.end(rebuilt(answer.error));
      return;
    }
    const { key } = answer;
    const stream = this.streams.get(key);
    if (answer.kind === "event") {
      stream?.push(answer.event);
      if (answer.event.type === "done") stream?.finish();
      return;
    }
    const pending = this.calls.get(key);
    this.calls.delete(key);
    if (answer.kind === "value") pending?.resolve(answer.value);
    else {
      pending?.reject(rebuilt(answer.error));
      stream?.fail(rebuilt(answer.error));
    }
  }

  private end(error: EngineError): void {
    if (this.over !== undefined) return;
    this.over = error;
    this.ready.reject(error);
    for (const { reject } of this.calls.values()) reject(error);
    for (const stream of this.streams.values()) stream.fail(error);
    this.calls.clear();
  }
}

function rebuilt({ code, message, details }: PlainError): EngineError {
  return new EngineError(code, message, { ...details });
}

function cancelled(signal: AbortSignal | undefined): EngineError {
  return new EngineError("cancelled", "the request was cancelled", {}, signal?.reason);
}
