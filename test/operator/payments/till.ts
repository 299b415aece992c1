import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { PayerLedger } from "../../../operator/payments/payer/payer-ledger.ts";
import { completedPayment, type PaymentOutcome, type Quote, quoteStatement } from "../../../operator/payments/quote.ts";
import { requestBytes } from "../../../operator/payments/request-bytes.ts";
import { decodeChannelHeader } from "../../../operator/payments/x402/channel-header.ts";
import { encodePaymentRequired } from "../../../operator/payments/x402/payment-required.ts";
import { encodePaymentResponse, settleResponse } from "../../../operator/payments/x402/payment-response.ts";
import { decodePaymentSignature } from "../../../operator/payments/x402/payment-signature.ts";
import { PAYMENT_HEADERS } from "../../../operator/payments/x402/wire.ts";
import { type Hex, toHex } from "../../../operator/protocol/bytes.ts";
import { canonicalJson } from "../../../operator/protocol/canonical-json.ts";
import { keccak } from "../../../operator/protocol/keccak.ts";
import { decodeReceipt } from "../../../operator/protocol/receipt.ts";
import { saltedHash } from "../../../operator/protocol/salted-hash.ts";
import { AdmissionError } from "../../../operator/settlement/errors.ts";
import type { ChannelStatement, JobRecord } from "../../../operator/settlement/sequencer.ts";
import { customersOf, Office } from "../settlement/office.ts";

/** What a test may put between an operator's books and its answers. */
export interface Tricks {
  /** Before anything is done; true when it has answered, or cut the line. */
  received?(request: IncomingMessage, response: ServerResponse, at: number): boolean;
  /** After the job was admitted, before it is served; true as above. */
  admitted?(response: ServerResponse, jobId: Hex): boolean;
  /** After the job was charged; true as above. */
  served?(response: ServerResponse, outcome: PaymentOutcome): boolean;
  outcome?(outcome: PaymentOutcome): PaymentOutcome;
  statement?(statement: ChannelStatement): ChannelStatement;
  /** What it says in the place of the answer that it charges for. */
  answer?: string;
  /** Tokens that it says it has counted. */
  completionTokens?: number;
  /** Bytes that a stream begins with. */
  aside?: string;
  /** Gives the outcome of a stream in a header, before the stream. */
  isEarly?: boolean;
  /** Breaks an answer off in its middle. */
  breaks?(): boolean;
  /** Holds a stream's last event back. */
  hold?: Promise<void>;
}

/** An operator's counter: real books, a real HTTP server, and answers that cost tokens but no engine. */
export interface Till {
  office: Office;
  url: string;
  /** What the model's name stands for. */
  pinned: { agent: number; version: number };
  tricks: Tricks;
  /** Paid and unpaid requests so far. */
  requests: { paid: number; unpaid: number };
  channel: number;
  /** Opens the payer's ledger; again, as another process would. */
  openLedger(options?: { file?: string; channel?: number; privateKey?: Uint8Array }): PayerLedger;
  ledgerFile: string;
  /** The payer's clock, seconds since 1970. */
  time: number;
}

export const ASSET: Hex = `0x${"0e".repeat(20)}`;
export const PATH = "/v1/chat/completions";
const ANSWER = "Rivers flow downhill.";
const TOKENS = { prompt: 6, completion: 20 };

/** The part of an answer that its receipt stands for. */
const storedAnswer = (completionTokens: number, content = ANSWER) => ({
  object: "chat.completion",
  model: "rivers",
  choices: [
    { index: 0, message: { role: "assistant", content, refusal: null }, logprobs: null, finish_reason: "stop" },
  ],
  usage: {
    prompt_tokens: TOKENS.prompt,
    completion_tokens: completionTokens,
    total_tokens: TOKENS.prompt + completionTokens,
  },
});

export async function openTill(t: TestContext, seed: number): Promise<Till> {
  const office = new Office(customersOf(seed));
  const { world } = office.customers;
  const folder = mkdtempSync(join(tmpdir(), "openledger-payer-"));
  const ledgers: PayerLedger[] = [];
  const till: Till = {
    office,
    url: "",
    pinned: world.agents[0],
    tricks: {},
    requests: { paid: 0, unpaid: 0 },
    channel: world.channels[0],
    ledgerFile: join(folder, "ledger.sqlite"),
    time: world.now - 1,
    openLedger({ file = till.ledgerFile, channel = till.channel, privateKey = world.keys.get(channel)! } = {}) {
      const ledger = new PayerLedger({ file, channel, privateKey, domain: world.domain, clock: () => till.time });
      ledgers.push(ledger);
      return ledger;
    },
  };
  const server = createServer((request, response) => {
    serve(till, request, response).catch((error) => {
      console.error(error);
      response.destroy();
    });
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  till.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  t.after(async () => {
    server.closeAllConnections();
    await new Promise((closed) => server.close(closed));
    for (const ledger of ledgers) ledger.close();
    office.close();
    rmSync(folder, { recursive: true });
  });
  return till;
}

/** What the operator asks for a request of the till's model. */
export function quoteFor({ office, pinned }: Till, bytes: Uint8Array, maxTokens = 100): Quote {
  const { world } = office.customers;
  const { composition } = world.registry.agentVersion(pinned.agent, pinned.version)!;
  const { pricePerJob, pricePerPromptToken, pricePerCompletionToken } = composition;
  const maxPrice =
    pricePerJob + pricePerPromptToken * BigInt(bytes.length) + pricePerCompletionToken * BigInt(maxTokens);
  const terms = { operator: world.operator, ...pinned, pricePerJob, pricePerPromptToken, pricePerCompletionToken };
  return { terms, domain: world.domain, asset: ASSET, maxPrice, voucherLife: world.windows.voucherLife };
}

async function serve(till: Till, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { office, tricks } = till;
  const { sequencer } = office;
  const { domain } = office.customers.world;
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  const signature = request.headers["payment-signature"] as string | undefined;
  const at = signature === undefined ? till.requests.unpaid++ : till.requests.paid++;
  if (tricks.received?.(request, response, at)) return;
  const lookUp = /^\/v1\/jobs\/(0x[0-9a-f]{64})$/.exec(request.url!);
  if (lookUp) {
    const job = await sequencer.job(lookUp[1] as Hex);
    const payment = job && settleResponse(outcomeOf(job), domain.chainId);
    const said = job ? { payment } : { error: { code: "job_not_found" } };
    response.writeHead(job ? 200 : 404, { "content-type": "application/json" }).end(JSON.stringify(said));
    return;
  }
  if (request.url !== PATH) return void response.end("free");
  const body = JSON.parse(Buffer.concat(chunks).toString());
  const bytes = requestBytes(PATH, body);
  const quote = quoteFor(till, bytes, body.max_tokens);
  const demand = async (error?: string) => {
    const named = request.headers["x-openledger-channel"] as string | undefined;
    if (named !== undefined) {
      const { channel, since } = decodeChannelHeader(named);
      const known = await sequencer.channel(channel, since);
      quote.statement = quoteStatement(channel, tricks.statement?.(known) ?? known, quote.maxPrice);
    }
    const header = encodePaymentRequired(quote, { url: `${till.url}${PATH}`, ...(error ? { error } : {}) });
    response.writeHead(402, { [PAYMENT_HEADERS.required]: header, "content-type": "application/json" });
    response.end(JSON.stringify({ error: { message: error ?? "payment required", type: "payment_required" } }));
  };
  if (signature === undefined) return demand();
  let jobId: Hex;
  try {
    ({ jobId } = await sequencer.admit({ ...decodePaymentSignature(signature, domain), request: bytes }));
  } catch (error) {
    if (error instanceof AdmissionError) return demand(error.code);
    throw error;
  }
  if (tricks.admitted?.(response, jobId)) return;
  const job = (await sequencer.job(jobId))!;
  if (job.state === "accepted") {
    if (body.messages[0]?.content === "break") await sequencer.fail(jobId, "toolFailed: no gauge");
    else await complete(till, job, body.max_tokens ?? 100);
  }
  const outcome = outcomeOf((await sequencer.job(jobId))!);
  if (tricks.served?.(response, outcome)) return;
  await answer(till, response, body.stream === true, tricks.outcome?.(outcome) ?? outcome);
}

async function complete(till: Till, { jobId, salt }: JobRecord, maxTokens: number): Promise<void> {
  const completionTokens = Math.min(TOKENS.completion, maxTokens);
  const response = new TextEncoder().encode(canonicalJson(storedAnswer(completionTokens)));
  const trace = new TextEncoder().encode(jobId);
  await till.office.sequencer.complete(jobId, {
    responseHash: toHex(saltedHash(salt, response)),
    traceHash: toHex(keccak(trace)),
    promptTokens: TOKENS.prompt,
    completionTokens,
    context: [],
    training: [],
    tools: [],
    response,
    trace,
  });
}

async function answer(till: Till, response: ServerResponse, isStream: boolean, outcome: PaymentOutcome) {
  const { chainId } = till.office.customers.world.domain;
  const { jobId } = outcome;
  const failed = outcome.state === "failed";
  const { answer: said = ANSWER, completionTokens, isEarly = false } = till.tricks;
  const charged = outcome.state === "completed" ? decodeReceipt(outcome.charge.body).completionTokens : 0;
  const { object, model, choices, usage } = storedAnswer(completionTokens ?? charged, said);
  const payment = settleResponse(outcome, chainId);
  const paymentHeader = { [PAYMENT_HEADERS.response]: encodePaymentResponse(outcome, chainId) };
  if (!isStream || failed) {
    const body = failed
      ? { error: { message: outcome.reason, type: "server_error" } }
      : { id: jobId, object, created: 1, model, choices, usage };
    response.writeHead(failed ? 500 : 200, { "content-type": "application/json", ...paymentHeader });
    if (!till.tricks.breaks?.()) return void response.end(JSON.stringify(body));
    response.write('{"id":');
    setTimeout(() => response.destroy(), 20);
    return;
  }
  response.writeHead(200, { "content-type": "text/event-stream", ...(isEarly && paymentHeader) });
  const event = (more: object) => {
    const chunk = { id: jobId, object: "chat.completion.chunk", created: 1, model, ...more };
    response.write(`data: ${JSON.stringify(chunk)}\n\n`);
  };
  if (till.tricks.aside) response.write(till.tricks.aside);
  for (const word of said.split(/(?<= )/)) event({ choices: [{ index: 0, delta: { content: word } }] });
  await till.tricks.hold;
  event({ choices: [{ index: 0, delta: {}, finish_reason: "stop" }], ...(!isEarly && { payment }) });
  response.end("data: [DONE]\n\n");
}

function outcomeOf(job: JobRecord): PaymentOutcome {
  if (job.receipt) return completedPayment(job.receipt);
  const { jobId } = job;
  return job.state === "failed" ? { state: "failed", jobId, reason: job.reason! } : { state: "accepted", jobId };
}
