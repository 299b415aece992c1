import type { InferenceRequest } from "../api/inference-request.ts";
import { type JobTerms, type Quote, quoteStatement } from "../payments/quote.ts";
import { decodeChannelHeader, type NamedChannel } from "../payments/x402/channel-header.ts";
import { encodePaymentRequired } from "../payments/x402/payment-required.ts";
import type { SignedPayment } from "../payments/x402/payment-signature.ts";
import { PAYMENT_HEADERS } from "../payments/x402/wire.ts";
import { PRICE_LIMIT } from "../protocol/bounds.ts";
import { toHex } from "../protocol/bytes.ts";
import { priceOf } from "../protocol/price.ts";
import { domainSeparator, voucherDigest } from "../protocol/voucher.ts";
import { AdmissionError } from "../settlement/errors.ts";
import type { AdmittedJob } from "../settlement/sequencer.ts";
import type { ServedAgent } from "./agents.ts";
import { ApiError } from "./api-error.ts";
import type { GatewayOptions } from "./gateway-options.ts";
import { type PaymentRefusal, refusalSentence } from "./refusals.ts";

/** Bytes of a token where nobody counts: English has about four, code and other languages fewer. */
const BYTES_PER_TOKEN = 3;
/** Tokens that a chat template puts around a message. */
const TOKENS_AROUND_MESSAGE = 8;
const CONTEXT_TOKENS = 2_048;
const ANSWER_TOKENS = 256;
/** A payment that would not buy this much is refused before it is spent on nothing. */
const LEAST_TOKENS = 8;

/** A request for an answer, understood. */
export interface AskedRequest {
  readonly request: InferenceRequest;
  /** What the voucher is for: see `operator/payments/request-bytes.ts`. */
  readonly bytes: Uint8Array;
  readonly agent: ServedAgent;
  /** Where it was asked. */
  readonly url: string;
}

type Desk = Pick<
  GatewayOptions,
  "operator" | "domain" | "asset" | "voucherLife" | "sequencer" | "countTokens" | "contextTokens" | "answerTokens"
>;

/** Names prices and takes payments. */
export class PaymentDesk {
  readonly #options: Desk;
  readonly #onRefusal: (refusal: PaymentRefusal) => void;

  constructor(options: Desk, onRefusal: (refusal: PaymentRefusal) => void) {
    this.#options = options;
    this.#onRefusal = onRefusal;
  }

  /** What an answer may cost at most, as far as can be said before passages are retrieved. */
  async quote(asked: AskedRequest, named?: NamedChannel): Promise<Quote> {
    const { domain, asset, voucherLife, contextTokens = CONTEXT_TOKENS, answerTokens = ANSWER_TOKENS } = this.#options;
    const promptTokens = (await this.#questionTokens(asked.request)) + contextTokens;
    const completionTokens = asked.request.asked.maxTokens ?? answerTokens;
    const terms = this.#termsOf(asked.agent);
    const maxPrice = priceOf(terms, { promptTokens, completionTokens }, PRICE_LIMIT - 1n);
    const quote: Quote = { terms, domain, asset, maxPrice, voucherLife };
    if (!named) return quote;
    const statement = await this.#options.sequencer.channel(named.channel, named.since);
    return { ...quote, statement: quoteStatement(named.channel, statement, maxPrice) };
  }

  /** The answer to a request that was not paid. @param channel Value of `x-openledger-channel`. */
  async unpaid(asked: AskedRequest, channel?: string): Promise<ApiError> {
    const named = channel === undefined ? undefined : decodeChannelHeader(channel);
    const quote = await this.quote(asked, named);
    const { name, version } = asked.agent;
    const message = `An answer of ${name}@${version} to this costs at most ${quote.maxPrice} wei of OPEN. Send a voucher of a channel with operator ${this.#options.operator} in ${PAYMENT_HEADERS.signature}.`;
    return paymentError(message, "payment_required", encodePaymentRequired(quote, { url: asked.url }));
  }

  /**
   * Takes a payment; the job is then accepted for good.
   *
   * @param channel Value of `x-openledger-channel`: from where on a refusal gives receipts.
   * @throws {ApiError} 402 when the voucher is not good for this request, with terms and statement to sign a better one.
   */
  async take(asked: AskedRequest, payment: SignedPayment, channel?: string): Promise<AdmittedJob> {
    const { voucher } = payment;
    const refuse = async (refusal: PaymentRefusal) => {
      this.#onRefusal(refusal);
      return this.#refused(asked, refusal, voucher.channel, channel);
    };
    const { agent, request } = asked;
    const isForAgent = voucher.agent === agent.id && voucher.version === agent.version;
    const least = {
      promptTokens: 0,
      completionTokens: Math.min(LEAST_TOKENS, request.asked.maxTokens ?? LEAST_TOKENS),
    };
    const isEnough = voucher.maxPrice >= priceOf(this.#termsOf(agent), least, PRICE_LIMIT - 1n);
    // A voucher sent again keeps the version, and the prices, that were the newest when it was signed: were it refused,
    // its payer would sign another and pay twice.
    if (!(isForAgent && isEnough) && !(await this.#isKnown(payment))) {
      throw await refuse(isForAgent ? "priceTooLow" : "wrongAgent");
    }
    try {
      return await this.#options.sequencer.admit({ ...payment, request: asked.bytes });
    } catch (error) {
      throw error instanceof AdmissionError ? await refuse(error.code) : error;
    }
  }

  async #refused(asked: AskedRequest, refusal: PaymentRefusal, channel: number, header?: string): Promise<ApiError> {
    const named = header === undefined ? undefined : decodeChannelHeader(header);
    const since = named?.channel === channel ? named.since : 0n;
    const quote = await this.quote(asked, refusal === "unknownChannel" ? undefined : { channel, since });
    const required = encodePaymentRequired(quote, { url: asked.url, error: refusal });
    return paymentError(refusalSentence(refusal), refusal, required);
  }

  async #isKnown({ voucher }: SignedPayment): Promise<boolean> {
    const jobId = toHex(voucherDigest(domainSeparator(this.#options.domain), voucher));
    return (await this.#options.sequencer.job(jobId)) !== undefined;
  }

  async #questionTokens({ asked: { prompt } }: InferenceRequest): Promise<number> {
    const messages = "text" in prompt ? [{ content: prompt.text }] : prompt.messages;
    const text = messages.map(({ content }) => content).join("\n");
    const { countTokens = (given) => Math.ceil(Buffer.byteLength(given) / BYTES_PER_TOKEN) } = this.#options;
    return (await countTokens(text)) + TOKENS_AROUND_MESSAGE * messages.length;
  }

  #termsOf({ id, version, composition }: ServedAgent): JobTerms {
    const { pricePerJob, pricePerPromptToken, pricePerCompletionToken } = composition;
    const prices = { pricePerJob, pricePerPromptToken, pricePerCompletionToken };
    return { operator: this.#options.operator, agent: id, version, ...prices };
  }
}

function paymentError(message: string, code: string, required: string): ApiError {
  // A proxy must not give one payer's terms to another.
  return new ApiError(402, message, {
    code,
    headers: { [PAYMENT_HEADERS.required]: required, "cache-control": "no-store" },
  });
}
