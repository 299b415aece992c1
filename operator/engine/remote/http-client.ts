import { setTimeout as sleep } from "node:timers/promises";
import { EngineError } from "../engine-error.ts";
import { clip } from "./json.ts";
import { refused } from "./remote-errors.ts";
import { parseServerSentEvents, type ServerSentEvent } from "./server-sent-events.ts";

/** Milliseconds throughout. */
interface HttpTimeouts {
  /** A short question: models, tokens, adapter lists. Default 30 s. */
  readonly control: number;
  /** Loading an adapter. Default 120 s. */
  readonly load: number;
  /** From sending a request to the first byte of its answer: a queue may be before it. Default 120 s. */
  readonly firstByte: number;
  /** Between two pieces of a stream. Default 60 s. */
  readonly idle: number;
}

export interface HttpClientOptions {
  /** Sent as a bearer token. */
  readonly apiKey?: string;
  readonly timeouts?: Partial<HttpTimeouts>;
  /** Tries after a failed connection or a 502 or 503, before anything was answered. Default 3. */
  readonly retries?: number;
  /** Wait before the first of them; it doubles each time. Default 250 ms. */
  readonly retryDelayMs?: number;
}

interface CallOptions {
  readonly signal?: AbortSignal;
  /** Which of the timeouts bounds the answer. Default `control`. */
  readonly timeout?: keyof HttpTimeouts;
  /** Whether the request names an adapter, for reading its refusal. */
  readonly usesAdapter?: boolean;
  /** How to read the body. Default JSON. */
  readonly read?: "json" | "text";
}

const MAX_BODY_BYTES = 64 * 1024 * 1024;

/**
 * Speaks to one server over HTTP. Everything it throws is an `EngineError`; a fired signal whose reason is an
 * `EngineError` is rethrown as that. Redirects are not followed: a key goes to the configured host only.
 */
export class HttpClient {
  readonly server: string;
  readonly timeouts: HttpTimeouts;
  private readonly base: string;
  private readonly headers: Record<string, string>;
  private readonly retries: number;
  private readonly retryDelayMs: number;

  constructor(server: string, base: URL, options: HttpClientOptions = {}) {
    this.server = server;
    this.base = base.href.replace(/\/+$/, "");
    this.timeouts = { control: 30_000, load: 120_000, firstByte: 120_000, idle: 60_000, ...options.timeouts };
    this.headers = options.apiKey === undefined ? {} : { authorization: `Bearer ${options.apiKey}` };
    this.retries = options.retries ?? 3;
    this.retryDelayMs = options.retryDelayMs ?? 250;
  }

  get(path: string, options: CallOptions = {}): Promise<unknown> {
    return this.call("GET", path, undefined, options);
  }

  post(path: string, body: unknown, options: CallOptions = {}): Promise<unknown> {
    return this.call("POST", path, body, options);
  }

  /**
   * Posts and yields the server-sent events of the answer. Leaving the loop closes the connection, which is how all
   * four servers learn that a request was cancelled.
   */
  async *events(path: string, body: unknown, options: CallOptions = {}): AsyncGenerator<ServerSentEvent> {
    const deadline = new Deadline(options.signal);
    try {
      const response = await this.open("POST", path, body, deadline, this.timeouts.firstByte, options);
      const type = response.headers.get("content-type") ?? "";
      if (!type.startsWith("text/event-stream")) {
        const text = await readBody(response);
        throw new EngineError("failed", `${this.server}: a stream was asked for, the answer is ${type || "untyped"}`, {
          answer: clip(text, 200),
        });
      }
      yield* parseServerSentEvents(deadline.watch(response, this.timeouts.idle));
    } catch (error) {
      throw this.explain(error, deadline, path);
    } finally {
      deadline.end();
    }
  }

  private async call(method: string, path: string, body: unknown, options: CallOptions): Promise<unknown> {
    const deadline = new Deadline(options.signal);
    try {
      const limit = this.timeouts[options.timeout ?? "control"];
      const response = await this.open(method, path, body, deadline, limit, options);
      const text = await readBody(response);
      return options.read === "text" ? text : JSON.parse(text);
    } catch (error) {
      if (error instanceof SyntaxError) {
        throw new EngineError("failed", `${this.server}: the answer to ${path} is no JSON`, {}, error);
      }
      throw this.explain(error, deadline, path);
    } finally {
      deadline.end();
    }
  }

  /** Sends until an answer begins. Nothing has been used of an attempt that failed, so trying again is safe. */
  private async open(
    method: string,
    path: string,
    body: unknown,
    deadline: Deadline,
    limitMs: number,
    options: CallOptions,
  ): Promise<Response> {
    const headers = { ...this.headers, ...(body !== undefined && { "content-type": "application/json" }) };
    const init = { method, headers, ...(body !== undefined && { body: JSON.stringify(body) }) };
    for (let attempt = 0; ; attempt++) {
      deadline.within(limitMs);
      let failure: unknown;
      try {
        const response = await fetch(this.base + path, { ...init, signal: deadline.signal, redirect: "error" });
        if (response.ok) return response;
        const text = await readBody(response);
        failure = refused(this.server, response.status, parsed(text), options.usesAdapter ?? false);
        if (!(failure instanceof EngineError && failure.code === "unavailable")) throw failure;
      } catch (error) {
        if (deadline.signal.aborted || error instanceof EngineError) throw error;
        failure = error;
      }
      if (attempt >= this.retries) throw failure;
      await sleep(this.retryDelayMs * 2 ** attempt, undefined, { signal: deadline.signal });
    }
  }

  private explain(error: unknown, deadline: Deadline, path: string): EngineError {
    if (error instanceof EngineError) return error;
    const { reason } = deadline.signal;
    if (reason instanceof TimedOut) {
      return new EngineError("timeout", `${this.server}: no answer to ${path} within ${reason.limitMs} ms`);
    }
    if (reason instanceof EngineError) return reason;
    if (deadline.signal.aborted) return new EngineError("cancelled", "The request was cancelled");
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
    const said = cause instanceof Error ? cause.message || cause.name : String(cause);
    return new EngineError("unavailable", `${this.server} at ${this.base}: ${said}`, {}, error);
  }
}

class TimedOut extends Error {
  readonly limitMs: number;
  constructor(limitMs: number) {
    super("timed out");
    this.limitMs = limitMs;
  }
}

/** One signal for caller, closing and time; the time can be wound up again. */
class Deadline {
  private readonly controller = new AbortController();
  private timer: NodeJS.Timeout | undefined;
  private readonly outer: AbortSignal | undefined;
  private readonly forward = () => this.controller.abort(this.outer?.reason);

  constructor(outer: AbortSignal | undefined) {
    this.outer = outer;
    if (outer?.aborted) this.forward();
    else outer?.addEventListener("abort", this.forward, { once: true });
  }

  get signal(): AbortSignal {
    return this.controller.signal;
  }

  within(limitMs: number): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.controller.abort(new TimedOut(limitMs)), limitMs);
  }

  /** The body's pieces, each within `limitMs` of the one before. */
  async *watch(response: Response, limitMs: number): AsyncGenerator<Uint8Array> {
    if (response.body === null) return;
    this.within(limitMs);
    for await (const piece of response.body) {
      // Time that the caller takes over a piece is not the server's.
      clearTimeout(this.timer);
      yield piece;
      this.within(limitMs);
    }
  }

  end(): void {
    clearTimeout(this.timer);
    this.outer?.removeEventListener("abort", this.forward);
    this.controller.abort();
  }
}

async function readBody(response: Response): Promise<string> {
  if (response.body === null) return "";
  const pieces: Uint8Array[] = [];
  let size = 0;
  for await (const piece of response.body) {
    size += piece.length;
    if (size > MAX_BODY_BYTES) throw new EngineError("failed", `The answer is longer than ${MAX_BODY_BYTES} bytes`);
    pieces.push(piece);
  }
  return Buffer.concat(pieces).toString("utf8");
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
