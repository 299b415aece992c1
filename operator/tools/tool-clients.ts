import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import type { Transport } from "@modelcontextprotocol/sdk/shared/transport.js";
import { ErrorCode, McpError } from "@modelcontextprotocol/sdk/types.js";
import type { jsonSchemaValidator } from "@modelcontextprotocol/sdk/validation/types.js";
import { ContentError } from "../chain/content/content-error.ts";
import type { Resolve } from "../chain/content/guarded-request.ts";
import type { Hex } from "../protocol/bytes.ts";
import { guardedFetch } from "./guarded-fetch.ts";
import { ToolError } from "./tool-error.ts";
import type { ToolManifest } from "./tool-manifest.ts";

export interface ToolSettings {
  /** Beginnings of addresses that may be on a private network, like `http://127.0.0.1:3000/`. */
  readonly trustedEndpoints?: readonly string[];
  /** Hashes of the manifests whose commands may be run here. None unless given: a command runs as the operator. */
  readonly allowedCommands?: readonly Hex[];
  /** Milliseconds for a call, connecting included. Default 20,000. */
  readonly timeout?: number;
  /** Bytes of an answer at most. Default 256 KiB. */
  readonly maxBytes?: number;
  /** Milliseconds after which an unused connection is closed. Default 60,000. */
  readonly idle?: number;
  readonly resolve?: Resolve;
}

/** A registered tool, ready to be called. */
export interface RegisteredTool {
  readonly manifest: ToolManifest;
  /** The manifest's, as registered. */
  readonly hash: Hex;
  /** Where its server is, as registered. */
  readonly endpoint: string;
}

interface Connection {
  readonly client: Promise<Client>;
  /** Never fulfilled; rejected when nothing more can come. */
  readonly broken: Promise<never>;
  timer?: NodeJS.Timeout;
  users: number;
}

const CLIENT = { name: "openledger", version: "1" };
/**
 * A server's word on the form of its own results is not asked for: it is the server that would choose the patterns which
 * this thread then tries to match.
 */
const ANY_FORM: jsonSchemaValidator = {
  getValidator: () => (input) => ({ valid: true, data: input as never, errorMessage: undefined }),
};

/** Calls tools on their MCP servers, over connections that are kept while they are used. */
export class ToolClients {
  readonly #settings: Required<Pick<ToolSettings, "timeout" | "maxBytes" | "idle">> & ToolSettings;
  readonly #connections = new Map<string, Connection>();

  constructor(settings: ToolSettings = {}) {
    this.#settings = { timeout: 20_000, maxBytes: 256 * 1024, idle: 60_000, ...settings };
  }

  /** Calls a tool. @returns The text of its result. @throws {ToolError}, or the signal's reason. */
  call(tool: RegisteredTool, args: Record<string, unknown>, signal?: AbortSignal): Promise<string> {
    return this.#with(tool, signal, async (client, options) => {
      const result = await client.callTool({ name: tool.manifest.tool, arguments: args }, undefined, options);
      const text = textOf(result);
      if (Buffer.byteLength(text) > this.#settings.maxBytes) throw this.#tooLarge(tool);
      if (result.isError) throw new ToolError("failed", `${tool.manifest.name}: ${text.slice(0, 200)}`);
      return text;
    });
  }

  /** The JSON schema of a tool's arguments, as its server gives it. @throws {ToolError}, or the signal's reason. */
  schema(tool: RegisteredTool, signal?: AbortSignal): Promise<unknown> {
    return this.#with(tool, signal, async (client, options) => {
      let cursor: string | undefined;
      // A server that lists without end is not followed.
      for (let page = 0; page < 10; page++) {
        const { tools, nextCursor } = await client.listTools({ cursor }, options);
        const found = tools.find(({ name }) => name === tool.manifest.tool);
        if (found) return found.inputSchema;
        if (nextCursor === undefined) break;
        cursor = nextCursor;
      }
      throw new ToolError("failed", `The server of ${tool.manifest.name} has no tool ${tool.manifest.tool}.`);
    });
  }

  async close(): Promise<void> {
    const all = [...this.#connections.values()];
    this.#connections.clear();
    for (const { timer } of all) clearTimeout(timer);
    await Promise.all(all.map(end));
  }

  async #with<T>(
    tool: RegisteredTool,
    signal: AbortSignal | undefined,
    work: (client: Client, options: { signal: AbortSignal; timeout: number; maxTotalTimeout: number }) => Promise<T>,
  ): Promise<T> {
    this.#allow(tool);
    const { timeout } = this.#settings;
    const late = AbortSignal.timeout(timeout);
    const either = signal ? AbortSignal.any([signal, late]) : late;
    const key = `${tool.hash} ${tool.endpoint}`;
    const connection = this.#connect(key, tool);
    connection.users += 1;
    clearTimeout(connection.timer);
    try {
      const client = await unless(either, connection.client);
      const result = work(client, { signal: either, timeout, maxTotalTimeout: timeout });
      return await unless(either, result, connection.broken);
    } catch (error) {
      // After an answer of its own the connection is fine; else nobody new gets it.
      if (!(error instanceof ToolError && error.code === "failed")) this.#retire(key, connection);
      signal?.throwIfAborted();
      throw this.#reason(error, tool, late.aborted);
    } finally {
      connection.users -= 1;
      this.#rest(key, connection);
    }
  }

  #allow({ manifest, hash, endpoint }: RegisteredTool): void {
    if (manifest.transport === "http") {
      if (!/^https?:$/.test(URL.parse(endpoint)?.protocol ?? ""))
        throw new ToolError("refused", `${manifest.name} has no http address.`);
      return;
    }
    const allowed = this.#settings.allowedCommands ?? [];
    if (!allowed.some((one) => one.toLowerCase() === hash.toLowerCase())) {
      throw new ToolError("refused", `This operator has not allowed the command of ${manifest.name}.`);
    }
  }

  #connect(key: string, tool: RegisteredTool): Connection {
    const known = this.#connections.get(key);
    if (known) return known;
    const client = new Client(CLIENT, { jsonSchemaValidator: ANY_FORM });
    // What breaks later is told to whoever calls next.
    client.onerror = () => {};
    const { promise: broken, reject } = Promise.withResolvers<never>();
    broken.catch(() => {});
    const ready = client.connect(this.#transport(tool, reject)).then(() => client);
    const connection: Connection = { client: ready, broken, users: 0 };
    connection.client.catch(() => this.#retire(key, connection));
    client.onclose = () => this.#retire(key, connection);
    this.#connections.set(key, connection);
    return connection;
  }

  #transport({ manifest, endpoint }: RegisteredTool, onTooLarge: (error: ToolError) => void): Transport {
    const { trustedEndpoints = [], maxBytes, resolve } = this.#settings;
    if (manifest.transport === "stdio") {
      const [command, ...args] = manifest.command!;
      return new StdioClientTransport({ command, args, stderr: "ignore", maxBufferSize: 2 * maxBytes });
    }
    return new StreamableHTTPClientTransport(new URL(endpoint), {
      fetch: guardedFetch({
        trusted: trustedEndpoints.map((one) => new URL(one).href),
        maxBytes,
        onTooLarge,
        ...(resolve && { resolve }),
      }),
      reconnectionOptions: {
        maxRetries: 0,
        initialReconnectionDelay: 1_000,
        maxReconnectionDelay: 1_000,
        reconnectionDelayGrowFactor: 1,
      },
    });
  }

  /** Closes a connection that nobody uses: at once where it is retired, else after a while. */
  #rest(key: string, connection: Connection): void {
    if (connection.users > 0) return;
    clearTimeout(connection.timer);
    if (this.#connections.get(key) !== connection) {
      void end(connection);
      return;
    }
    connection.timer = setTimeout(() => {
      this.#retire(key, connection);
      void end(connection);
    }, this.#settings.idle);
    connection.timer.unref();
  }

  #retire(key: string, connection: Connection): void {
    if (this.#connections.get(key) === connection) this.#connections.delete(key);
  }

  #tooLarge({ manifest }: RegisteredTool): ToolError {
    return new ToolError("too_large", `${manifest.name} answers with more than ${this.#settings.maxBytes} bytes.`);
  }

  #reason(error: unknown, tool: RegisteredTool, late: boolean): ToolError {
    const { name } = tool.manifest;
    const timedOut = late || (error instanceof McpError && error.code === ErrorCode.RequestTimeout);
    if (timedOut) return new ToolError("timeout", `${name} did not answer in time.`, { cause: error });
    for (let cause = error; cause instanceof Error; cause = cause.cause) {
      if (cause instanceof ToolError) return cause;
      if (cause instanceof ContentError && cause.code === "refused") {
        return new ToolError("refused", `${name}: ${cause.message}`, { cause: error });
      }
    }
    return new ToolError("failed", `${name}: ${(error as Error).message}`.slice(0, 300), { cause: error });
  }
}

/** Gives up waiting when the signal fires; the work itself hears of it by other ways. */
async function unless<T>(signal: AbortSignal, work: Promise<T>, ...others: Promise<never>[]): Promise<T> {
  signal.throwIfAborted();
  const aborted = Promise.withResolvers<never>();
  const abort = () => aborted.reject(signal.reason);
  signal.addEventListener("abort", abort, { once: true });
  work.catch(() => {});
  try {
    return await Promise.race([work, aborted.promise, ...others]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}

async function end({ client }: Connection): Promise<void> {
  await client.then((open) => open.close()).catch(() => {});
}

function textOf(given: unknown): string {
  const result = given as { content?: unknown; structuredContent?: unknown };
  const blocks = Array.isArray(result.content) ? (result.content as { type?: unknown; text?: unknown }[]) : [];
  const texts = blocks.filter(({ type }) => type === "text").map(({ text }) => String(text));
  if (texts.length > 0) return texts.join("\n");
  return result.structuredContent === undefined ? "" : JSON.stringify(result.structuredContent);
}
