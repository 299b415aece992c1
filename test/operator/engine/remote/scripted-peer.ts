import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { TestContext } from "node:test";
import type { GenerateEvent } from "../../../../operator/engine/engine.ts";
import type { ConnectOptions } from "../../../../operator/engine/remote/connect.ts";

/** One request as the peer received it. */
export interface Received {
  readonly method: string;
  readonly path: string;
  // biome-ignore lint/suspicious/noExplicitAny: what a client sent, read field by field in assertions
  readonly body: any;
  readonly headers: IncomingMessage["headers"];
}

export type Handler = (request: Received, reply: Reply) => void | Promise<void>;

/** What a script may do with one request. */
export class Reply {
  readonly response: ServerResponse;
  constructor(response: ServerResponse) {
    this.response = response;
  }

  json(value: unknown, status = 200): void {
    this.response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(value));
  }

  text(value: string, status = 200): void {
    this.response.writeHead(status, { "content-type": "text/plain" }).end(value);
  }

  /** Begins a stream of server-sent events. */
  stream(): void {
    this.response.writeHead(200, { "content-type": "text/event-stream; charset=utf-8" });
    this.response.flushHeaders();
  }

  raw(text: string): void {
    this.response.write(text);
  }

  event(value: unknown): void {
    this.raw(`data: ${typeof value === "string" ? value : JSON.stringify(value)}\n\n`);
  }

  end(): void {
    this.response.end();
  }

  /** Breaks the connection, as a server that is killed does. */
  cut(): void {
    this.response.destroy();
  }

  /** Resolves when the client has gone away. */
  gone(): Promise<void> {
    return new Promise((resolve) => this.response.once("close", resolve));
  }
}

export interface Peer {
  readonly url: string;
  readonly received: Received[];
  /** Requests to one path. */
  to(path: string): Received[];
  script(handler: Handler): void;
  stop(): Promise<void>;
}

/** Starts an HTTP server that answers as the script says. It ends with the test. */
export async function startPeer(context: TestContext, handler: Handler, port = 0): Promise<Peer> {
  const received: Received[] = [];
  let current = handler;
  const server = createServer(async (request, response) => {
    const pieces: Buffer[] = [];
    for await (const piece of request) pieces.push(piece);
    const text = Buffer.concat(pieces).toString();
    const item = {
      method: request.method as string,
      path: request.url as string,
      body: text === "" ? undefined : JSON.parse(text),
      headers: request.headers,
    };
    received.push(item);
    response.on("error", () => undefined);
    await current(item, new Reply(response));
  });
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  const stop = () =>
    new Promise<void>((resolve) => {
      server.closeAllConnections();
      server.close(() => resolve());
    });
  context.after(() => (server.listening ? stop() : undefined));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    received,
    to: (path) => received.filter((item) => item.path === path),
    script: (next) => {
      current = next;
    },
    stop,
  };
}

/** Short waits, so that a test about a slow peer is itself quick. */
export const QUICK: ConnectOptions = {
  retries: 2,
  retryDelayMs: 5,
  timeouts: { control: 2000, load: 2000, firstByte: 2000, idle: 2000 },
};

/** An answer put together: the text of each choice, and the events it came in. */
export interface Collected {
  readonly events: GenerateEvent[];
  readonly texts: string[];
  readonly tokenIds: number[][];
}

export async function collect(events: AsyncIterable<GenerateEvent>): Promise<Collected> {
  const result: Collected = { events: [], texts: [], tokenIds: [] };
  for await (const event of events) {
    result.events.push(event);
    if (event.type !== "token" && event.type !== "finish") continue;
    result.texts[event.choice] = (result.texts[event.choice] ?? "") + event.text;
    if (event.type === "token" && event.tokenId !== undefined) {
      result.tokenIds[event.choice] = [...(result.tokenIds[event.choice] ?? []), event.tokenId];
    }
  }
  return result;
}

/** The one event of a type, with its fields. */
export function only<T extends GenerateEvent["type"]>(collected: Collected, type: T) {
  const found = collected.events.filter((event) => event.type === type);
  if (found.length !== 1) throw new Error(`${found.length} events "${type}"`);
  return found[0] as Extract<GenerateEvent, { type: T }>;
}
