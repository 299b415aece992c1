import { createHash, timingSafeEqual } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { type AddressInfo, BlockList } from "node:net";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { ReadableStream as WebStream } from "node:stream/web";
import { PaymentError } from "../../payments/payment-error.ts";

export interface ProxyOptions {
  /** The operator's address, without `/v1`. */
  operatorUrl: string;
  /** A `fetch` that pays. */
  pay: typeof fetch;
  port: number;
  /** What callers have to send as bearer; without it, every process of this machine may spend. */
  key?: string;
}

export interface Proxy {
  url: string;
  close(): Promise<void>;
}

const MAX_BODY = 32 * 1_048_576;
/** Headers that are about one connection, or that the local side keeps to itself. */
const NOT_FORWARDED = new Set([
  ...["connection", "keep-alive", "proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding"],
  ...["upgrade", "host", "content-length", "accept-encoding", "authorization", "cookie", "origin", "referer", "expect"],
]);
const NOT_RETURNED = new Set(["connection", "keep-alive", "transfer-encoding", "content-encoding", "content-length"]);

/** What cannot be done for a caller, with its HTTP status. */
class Refused extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/**
 * Serves `/v1/...` on 127.0.0.1 and passes it on to the operator, paid. Web pages are kept out: they could make the
 * browser spend.
 */
export async function serveProxy(options: ProxyOptions): Promise<Proxy> {
  const server = createServer((request, response) => {
    pass(options, request, response).catch((error) => answerError(response, error));
  });
  server.listen(options.port, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    async close() {
      const closed = once(server, "close");
      server.close();
      server.closeIdleConnections();
      // Answers under way may end, but not for ever.
      const late = setTimeout(() => server.closeAllConnections(), 5_000);
      await closed;
      clearTimeout(late);
    },
  };
}

async function pass({ operatorUrl, pay, key }: ProxyOptions, request: IncomingMessage, response: ServerResponse) {
  checkCaller(request, key);
  const url = request.url ?? "";
  // As it will be asked: "..", "%2e%2e" and "\\" lead elsewhere.
  const target = URL.canParse(`${operatorUrl}${url}`) ? new URL(`${operatorUrl}${url}`) : undefined;
  if (!url.startsWith("/v1/") || !target?.pathname.startsWith(new URL(`${operatorUrl}/v1/`).pathname)) {
    throw new Refused(404, "Ask for something under /v1/.");
  }
  const headers = new Headers();
  for (const [name, value] of Object.entries(request.headers)) {
    if (typeof value === "string" && !NOT_FORWARDED.has(name) && !name.startsWith("sec-")) headers.set(name, value);
  }
  const leaving = new AbortController();
  response.on("close", () => leaving.abort(new Error("The caller left.")));
  const { method = "GET" } = request;
  const body = method === "GET" || method === "HEAD" ? undefined : await readBody(request);
  // An operator must not make this machine ask others, this proxy among them.
  const answer = await pay(target, { method, headers, body, signal: leaving.signal, redirect: "manual" });
  for (const [name, value] of answer.headers) if (!NOT_RETURNED.has(name)) response.setHeader(name, value);
  response.writeHead(answer.status);
  if (!answer.body) return void response.end();
  await pipeline(Readable.fromWeb(answer.body as WebStream), response);
}

/** @throws {Refused} For web pages, other machines' names for this one, and callers without the key. */
function checkCaller(request: IncomingMessage, key: string | undefined): void {
  const { host = "", origin, authorization = "" } = request.headers;
  const { hostname } = new URL(URL.canParse(`http://${host}`) ? `http://${host}` : "http://none");
  if (hostname !== "localhost" && !LOCAL.check(hostname.replace(/[[\]]/g, ""))) {
    throw new Refused(403, "Ask at 127.0.0.1 or localhost.");
  }
  if (origin !== undefined) throw new Refused(403, "Web pages may not spend from here.");
  if (key === undefined) return;
  if (!timingSafeEqual(digestOf(authorization), digestOf(`Bearer ${key}`))) {
    throw new Refused(401, "Give the proxy's key as the API key.");
  }
}

const LOCAL = new BlockList();
LOCAL.addSubnet("127.0.0.0", 8);

const digestOf = (text: string) => createHash("sha256").update(text).digest();

async function readBody(request: IncomingMessage): Promise<Buffer<ArrayBuffer>> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > MAX_BODY) throw new Refused(413, `A request has at most ${MAX_BODY} bytes.`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function answerError(response: ServerResponse, error: unknown): void {
  if (response.headersSent || response.destroyed) return void response.destroy();
  const [status, type, code] =
    error instanceof PaymentError
      ? [402, "payment_error", error.code]
      : error instanceof Refused
        ? [error.status, "invalid_request_error", null]
        : [502, "upstream_error", null];
  const cause =
    status === 502 && error instanceof Error && error.cause instanceof Error ? `: ${error.cause.message}` : "";
  const message = status === 502 ? `The operator does not answer${cause}.` : (error as Error).message;
  response.writeHead(status, {
    "content-type": "application/json",
    // Asking again would change nothing; what could, was done here. The official client heeds this.
    "x-should-retry": "false",
    connection: "close",
  });
  response.end(JSON.stringify({ error: { message, type, param: null, code } }));
}
