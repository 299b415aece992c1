import { setTimeout as sleep } from "node:timers/promises";
import { formatEther } from "viem";
import type { Hex } from "../protocol/bytes.ts";
import { KnownQuotes, type QuotedRequest } from "./known-quotes.ts";
import { watchPaidStream } from "./paid-stream.ts";
import type { PayerLedger, SignedJob } from "./payer/payer-ledger.ts";
import { PaymentError } from "./payment-error.ts";
import type { PaymentOutcome, Quote } from "./quote.ts";
import { StreamedAnswer, wholeAnswer } from "./received-answer.ts";
import { requestBytes } from "./request-bytes.ts";
import { settleAdrift } from "./settle-adrift.ts";
import { encodeChannelHeader } from "./x402/channel-header.ts";
import { decodePaymentRequired } from "./x402/payment-required.ts";
import { decodePaymentResponse, paymentOutcomeOf } from "./x402/payment-response.ts";
import { PAYMENT_HEADERS } from "./x402/wire.ts";

/** What a paid request came to. */
export interface PaidOutcome {
  jobId: Hex;
  model: string;
  outcome: PaymentOutcome;
}

export interface PayingFetchOptions {
  /** Of the channel to pay from. */
  ledger: PayerLedger;
  /** Wei of OPEN that one request may cost at most. Default 0.1 OPEN. */
  maxPricePerRequest?: bigint;
  /** Wei of OPEN that the operator may collect from the channel in all. Default: what the channel holds. */
  maxTotal?: bigint;
  /** How often one voucher is sent while its fate is unknown. Default 4. */
  attempts?: number;
  /** Milliseconds before the second attempt; doubles with each. Default 250. */
  backoff?: number;
  /** Told once for each request, when it is known what became of it. */
  onOutcome?: (paid: PaidOutcome) => void;
  fetch?: typeof fetch;
}

const DEFAULT_MAX_PRICE = 10n ** 17n;
/** Answers that leave open whether the job was taken. */
const UNKNOWN = new Set([408, 425, 429, 500, 502, 503, 504]);
/** Seconds that an operator may ask to wait before the next attempt. */
const MAX_RETRY_AFTER = 10;

/** Refusals that another voucher would not mend, with what does. */
const HOPELESS: Record<string, string> = {
  badSignature: "the channel has another session key",
  unknownChannel: "the operator knows no such channel of its own; one opened just now is known after a few blocks",
  malformedVoucher: "the operator cannot read the voucher",
  requestMismatch: "the request was changed on its way",
};
const MENDED_BY: Record<string, string> = {
  capAboveDeposit: "the channel does not hold enough: openledger channel fund",
  capTooLow: "jobs that this ledger does not know are in flight on the channel",
  expired: "check this machine's clock",
  expiryTooFar: "check this machine's clock",
};

interface Call extends QuotedRequest {
  readonly url: string;
  readonly headers: Headers;
  readonly signal: AbortSignal;
  readonly init: RequestInit;
  readonly text: string;
  readonly bytes: Uint8Array;
  readonly model: string;
  /** It asks for log-probabilities. */
  readonly isScored: boolean;
}

/** An answer to a paid request; where it is not streamed, with all of its body. */
interface Delivered {
  readonly response: Response;
  readonly body?: Uint8Array<ArrayBuffer>;
}

/**
 * A `fetch` that pays. A request that is answered 402 is paid with a voucher and sent again; from the second request on,
 * the voucher goes with the request. A request whose fate is unknown is sent again with the same voucher: it is the same
 * job and is charged once.
 *
 * @example
 * const client = new OpenAI({ baseURL: "https://operator.example/v1", apiKey: "none", fetch: payingFetch({ ledger }) });
 *
 * The function given back throws {@link PaymentError} when the terms go beyond the limits, the operator refuses the
 * voucher or says something that cannot be true; and whatever `fetch` throws.
 */
export function payingFetch(options: PayingFetchOptions): typeof fetch {
  const payer = new Payer(options);
  return (input, init) => payer.fetch(input, init);
}

class Payer {
  readonly #options: PayingFetchOptions;
  readonly #ledger: PayerLedger;
  readonly #send: typeof fetch;
  readonly #quotes = new KnownQuotes();

  constructor(options: PayingFetchOptions) {
    this.#options = options;
    this.#ledger = options.ledger;
    this.#send = options.fetch ?? fetch;
  }

  async fetch(input: string | URL | Request, init?: RequestInit): Promise<Response> {
    const method = init?.method ?? (input instanceof Request ? input.method : "GET");
    // As it came: a request is made of it once, and has its body then.
    if (method.toUpperCase() !== "POST") return this.#send(input, init);
    const request = new Request(input, init);
    const body = await request.arrayBuffer();
    const call = callOf(request, new TextDecoder().decode(body), init ?? {});
    return call ? this.#pay(call) : this.#send(request.url, { ...init, ...plain(request), body });
  }

  async #pay(call: Call): Promise<Response> {
    call.signal.throwIfAborted();
    const isRetried = Number(call.headers.get("x-stainless-retry-count") ?? 0) > 0;
    const lost = this.#ledger.claimLost(call.bytes, isRetried);
    if (lost) {
      const delivered = await this.#deliver(call, lost);
      if (delivered.response.status !== 402) return this.#finish(call, lost, delivered);
      await this.#refused(call, lost, delivered.response);
    }
    // With jobs whose fate is open, the operator's statement comes first.
    let quote = this.#ledger.adrift().length === 0 ? this.#estimate(call) : undefined;
    for (let round = 1; ; round++) {
      const asked = quote ?? (await this.#ask(call));
      if (asked instanceof Response) return asked;
      this.#checkPrice(asked);
      // A voucher that is not sent binds as much as one that is.
      call.signal.throwIfAborted();
      const job = this.#ledger.reserve(asked, call.bytes, this.#options.maxTotal);
      const delivered = await this.#deliver(call, job);
      if (delivered.response.status !== 402) return this.#finish(call, job, delivered);
      const { code, quote: next } = await this.#refused(call, job, delivered.response);
      if (round === mostRounds(code) || code in HOPELESS) throw refusal(code);
      quote = next;
    }
  }

  /** Sends the request unpaid: gives the terms, or the answer where nothing is to be paid. */
  async #ask(call: Call): Promise<Quote | Response> {
    for (;;) {
      const { since } = this.#ledger;
      const response = await this.#post(call, {});
      if (response.status !== 402) return response;
      const { quote } = await this.#readTerms(call, response);
      if (!quote.statement || quote.statement.isComplete) {
        await settleAdrift(this.#ledger, call, this.#send);
        return quote;
      }
      if (this.#ledger.since === since) {
        throw new PaymentError("malformed", "The operator's statement of the channel does not come to an end.");
      }
    }
  }

  #estimate(call: Call): Quote | undefined {
    const quote = this.#quotes.estimate(call);
    return quote && quote.maxPrice <= this.#maxPrice ? quote : undefined;
  }

  /** Sends a voucher until it is known whether it was taken, or the attempts are used up. */
  async #deliver(call: Call, job: SignedJob): Promise<Delivered> {
    const { attempts = 4, backoff = 250 } = this.#options;
    const { signal } = call;
    let pause = 0;
    for (let attempt = 1; ; attempt++) {
      const isLast = attempt >= attempts;
      try {
        if (pause > 0) await sleep(pause, undefined, { signal });
        pause = backoff * 2 ** (attempt - 1);
        const response = await this.#post(call, { [PAYMENT_HEADERS.signature]: job.header });
        const isKnown = !UNKNOWN.has(response.status) || response.headers.has(PAYMENT_HEADERS.response);
        // Read here: an answer that breaks off on its way is one whose fate is unknown.
        if (response.ok && !isStream(response)) return { response, body: new Uint8Array(await response.arrayBuffer()) };
        if (isKnown || isLast) return { response };
        await response.body?.cancel();
        const seconds = Number(response.headers.get("retry-after"));
        if (seconds > 0) pause = 1_000 * Math.min(seconds, MAX_RETRY_AFTER);
      } catch (error) {
        if (!signal.aborted && !isLast) continue;
        this.#ledger.lose(job.jobId, signal.aborted ? "left" : "unknown");
        throw signal.aborted ? signal.reason : error;
      }
    }
  }

  #post({ url, init, headers, signal, text }: Call, more: Record<string, string>): Promise<Response> {
    const all = new Headers(headers);
    const { channel, since } = this.#ledger;
    all.set(PAYMENT_HEADERS.channel, encodeChannelHeader({ channel, since }));
    for (const [name, value] of Object.entries(more)) all.set(name, value);
    // A voucher goes to the operator alone, and an operator must not make this machine ask others, itself among them.
    return this.#send(url, { ...init, method: "POST", headers: all, signal, body: text, redirect: "manual" });
  }

  /** The operator did not take a voucher: corrects the ledger by what it shows. */
  async #refused(call: Call, job: SignedJob, response: Response): Promise<{ code: string; quote: Quote | undefined }> {
    const { quote, error: code = "refused" } = await this.#readTerms(call, response);
    this.#ledger.forget(job.jobId, `refused: ${code}`);
    const isWhole = !quote.statement || quote.statement.isComplete;
    return { code, quote: isWhole ? quote : undefined };
  }

  /** @throws {PaymentError} When the terms cannot be read, or the statement in them cannot be true. */
  async #readTerms(call: Call, response: Response): Promise<{ quote: Quote; error?: string }> {
    await response.body?.cancel();
    const header = response.headers.get(PAYMENT_HEADERS.required);
    if (header === null) throw new PaymentError("unknownTerms", "The operator asks for payment without saying how.");
    const terms = decodePaymentRequired(header, this.#ledger.domain);
    this.#quotes.remember(call, terms.quote);
    if (terms.quote.statement) this.#ledger.takeStatement(terms.quote.statement);
    return terms;
  }

  /** Passes the answer on, takes the receipt that comes with it, and compares the two. */
  async #finish(call: Call, { jobId }: SignedJob, { response, body }: Delivered): Promise<Response> {
    const header = response.headers.get(PAYMENT_HEADERS.response);
    const { ok, status, statusText, headers } = response;
    let isResolved = false;
    const take = (outcome: PaymentOutcome) => {
      if (outcome.state === "accepted" || isResolved) return;
      if (outcome.jobId !== jobId)
        throw new PaymentError("malformed", `The operator answers for job ${outcome.jobId}.`);
      if (outcome.state === "completed") this.#ledger.confirm(jobId, outcome.charge);
      else this.#ledger.forget(jobId, outcome.reason);
      isResolved = true;
      this.#options.onOutcome?.({ jobId, model: call.model, outcome });
    };
    const lose = (loss: "unknown" | "left") => {
      if (!isResolved) this.#ledger.lose(jobId, loss);
    };
    if (header !== null) {
      try {
        take(decodePaymentResponse(header));
      } catch (error) {
        // Nobody will read it.
        await response.body?.cancel().catch(() => {});
        throw error;
      }
    }
    if (body) {
      if (isResolved) this.#ledger.checkAnswer(jobId, (receipt) => wholeAnswer(body, receipt));
      else lose("left");
      return new Response(body.length > 0 ? body : null, { status, statusText, headers });
    }
    if (ok && response.body) {
      const answer = new StreamedAnswer();
      const check = () => {
        if (isResolved && !call.isScored) this.#ledger.checkAnswer(jobId, (receipt) => answer.bytes(receipt));
      };
      const watched = watchPaidStream(response.body, {
        event: (event) => {
          answer.take(event);
          if (event.payment === undefined) return;
          take(paymentOutcomeOf(event.payment));
          check();
        },
        ended: () => {
          lose("unknown");
          check();
        },
        // Also after its receipt: its reader may not have the end, and ask again.
        broken: () => this.#ledger.lose(jobId, call.signal.aborted ? "left" : "unknown"),
        left: () => lose("left"),
      });
      return new Response(watched, { status, statusText, headers });
    }
    if (isResolved) return response;
    if (UNKNOWN.has(status)) lose("unknown");
    else this.#ledger.forget(jobId, `answered with status ${status}`);
    return response;
  }

  #checkPrice({ maxPrice }: Quote): void {
    if (maxPrice <= this.#maxPrice) return;
    const message = `This request may cost ${formatEther(maxPrice)} OPEN; the limit is ${formatEther(this.#maxPrice)}.`;
    throw new PaymentError("priceAboveLimit", message, { price: String(maxPrice), limit: String(this.#maxPrice) });
  }

  get #maxPrice(): bigint {
    return this.#options.maxPricePerRequest ?? DEFAULT_MAX_PRICE;
  }
}

/**
 * How many vouchers are signed for one request at most. A voucher that is overtaken on its way by later ones of the same
 * payer comes with a cap that is too low by then; among many requests in flight that happens now and then, and again.
 */
function mostRounds(code: string): number {
  return code === "capTooLow" ? 10 : 2;
}

function refusal(code: string): PaymentError {
  const hint = HOPELESS[code] ?? MENDED_BY[code];
  const message = `The operator does not take the voucher: ${code}${hint ? ` (${hint})` : ""}.`;
  return new PaymentError("refused", message, { reason: code });
}

/** What is to be paid for: JSON with a model. */
function callOf(request: Request, text: string, init: RequestInit): Call | undefined {
  let body: Record<string, unknown> | null;
  try {
    body = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof body?.model !== "string") return undefined;
  const { url } = request;
  const { pathname } = new URL(url);
  // Where the operator's address has a path of its own, its API begins at /v1.
  const path = pathname.slice(Math.max(0, pathname.lastIndexOf("/v1/")));
  const bytes = requestBytes(path, body);
  const given = body.max_completion_tokens ?? body.max_tokens;
  // What is no number of tokens is for the operator to refuse.
  const maxTokens = typeof given === "number" && Number.isSafeInteger(given) ? given : undefined;
  const { model } = body;
  const subject = `${url} ${model}`;
  const isScored = body.logprobs !== undefined && body.logprobs !== null && body.logprobs !== false;
  return { url, ...plain(request), init, text, bytes, model, isScored, subject, size: bytes.length, maxTokens };
}

function isStream({ headers }: Response): boolean {
  return headers.get("content-type")?.startsWith("text/event-stream") ?? false;
}

function plain({ method, headers, signal }: Request) {
  return { method, headers, signal };
}
