import { createHash, timingSafeEqual } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { AdmissionError, JobError, JournalError, SettlementError } from "../errors.ts";
import type { Sequencer } from "../sequencer.ts";
import { listen, stopListening } from "./listening.ts";
import {
  readBigInt,
  readFields,
  readHex,
  readNumber,
  readOutcome,
  readPaidRequest,
  readText,
} from "./read-requests.ts";
import { decodeWire, encodeWire, malformed } from "./wire.ts";

export interface SequencerServerOptions {
  /** What callers know, at least 32 characters. */
  secret: string;
  /** Default: this machine only. */
  host?: string;
  /** Default: one that is free. */
  port?: number;
  /** Bytes of one call at most: a request, or an answer with its trace. Default 32 MiB. */
  maxBodyBytes?: number;
}

export interface SequencerServer {
  /** Where callers find it. */
  url: string;
  close(): Promise<void>;
}

const MEBIBYTE = 1_048_576;
const MIN_SECRET = 32;

type Method = (sequencer: Sequencer, given: Record<string, unknown>) => Promise<unknown>;

const METHODS: Record<string, Method> = {
  admit: (sequencer, given) => sequencer.admit(readPaidRequest(given)),
  complete: (sequencer, given) => sequencer.complete(readHex(given, "jobId", 32), readOutcome(given.outcome)),
  fail: (sequencer, given) => sequencer.fail(readHex(given, "jobId", 32), readText(given, "reason")),
  job: (sequencer, given) => sequencer.job(readHex(given, "jobId", 32)),
  channel: (sequencer, given) => {
    const since = given.since === undefined ? undefined : readBigInt(given, "since");
    if (since !== undefined && since >= 2n ** 63n) throw malformed("since is no position");
    return sequencer.channel(readNumber(given, "channel"), since);
  },
};

/**
 * Offers a sequencer to gateways and workers on other machines: `POST /sequencer/<method>` with the shared secret as
 * bearer. There is no TLS here: put it on a private network, or behind a proxy that has it.
 *
 * @throws {SettlementError} `weakSecret` when the secret is short.
 */
export async function serveSequencer(sequencer: Sequencer, options: SequencerServerOptions): Promise<SequencerServer> {
  const { secret, host = "127.0.0.1", port = 0, maxBodyBytes = 32 * MEBIBYTE } = options;
  if (secret.length < MIN_SECRET) {
    throw new SettlementError("weakSecret", `The sequencer's secret needs at least ${MIN_SECRET} characters.`);
  }
  const expected = digestOf(`Bearer ${secret}`);
  const server = createServer(async (request, response) => {
    try {
      const isKnown = timingSafeEqual(digestOf(request.headers.authorization ?? ""), expected);
      if (!isKnown) throw new SettlementError("unauthorised", "The secret is missing or wrong.");
      const name = /^\/sequencer\/(\w+)$/.exec(request.url ?? "")?.[1] ?? "";
      if (request.method !== "POST") throw new SettlementError("unknownMethod", "Calls are posted.");
      const given = readFields(decodeWire(await readBody(request, maxBodyBytes)));
      if (name === "unfinished") return await streamUnfinished(sequencer, response);
      if (!Object.hasOwn(METHODS, name)) throw new SettlementError("unknownMethod", `There is no call ${name}.`);
      const result = await METHODS[name](sequencer, given);
      answer(response, 200, { result });
    } catch (error) {
      answerError(response, error);
    }
  });
  return { url: await listen(server, { host, port }), close: () => stopListening(server, "idle") };
}

/** One job a line. */
async function streamUnfinished(sequencer: Sequencer, response: ServerResponse): Promise<void> {
  response.writeHead(200, { "content-type": "application/x-ndjson" });
  for await (const job of sequencer.unfinished()) {
    if (response.destroyed) return;
    if (!response.write(`${encodeWire(job)}\n`)) {
      await Promise.race([once(response, "drain"), once(response, "close")]);
    }
  }
  response.end();
}

async function readBody(request: IncomingMessage, limit: number): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > limit) throw new SettlementError("tooLarge", `A call has at most ${limit} bytes.`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

function answerError(response: ServerResponse, error: unknown): void {
  if (response.headersSent) {
    // Half a list must not look like a whole one.
    response.destroy();
    return;
  }
  // What went wrong inside is for the log of this machine.
  const known = error instanceof SettlementError ? error : new SettlementError("internal", "The sequencer failed.");
  const { code, message, details } = known;
  // The rest of a body that was not read would be taken for the next call.
  response.setHeader("connection", "close");
  answer(response, statusOf(known), { error: { kind: kindOf(known), code, message, details } });
}

function answer(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { "content-type": "application/json" }).end(encodeWire(body));
}

function kindOf(error: SettlementError): string {
  if (error instanceof AdmissionError) return "admission";
  if (error instanceof JobError) return "job";
  return error instanceof JournalError ? "journal" : "other";
}

const STATUS: Record<string, number> = { unauthorised: 401, unknownMethod: 404, tooLarge: 413, malformedRequest: 400 };

function statusOf(error: SettlementError): number {
  if (error instanceof AdmissionError || error instanceof JobError) return 422;
  if (error instanceof JournalError) return 503;
  return STATUS[error.code] ?? 500;
}

function digestOf(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}
