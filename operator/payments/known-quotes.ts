import type { Quote } from "./quote.ts";

/** What a quote depends on, as far as an asker can tell. */
export interface QuotedRequest {
  /** Address and model: what the terms are for. */
  readonly subject: string;
  /** Bytes of the request. */
  readonly size: number;
  /** Tokens to generate at most, where the request says so. */
  readonly maxTokens: number | undefined;
}

/** Quotes kept: those of the subjects asked for last. */
const KEPT = 256;

/** Quotes of earlier requests, from which those of the next ones can be told without asking. */
export class KnownQuotes {
  readonly #known = new Map<string, { request: QuotedRequest; quote: Quote }>();

  remember(request: QuotedRequest, quote: Quote): void {
    const { statement: _, ...terms } = quote;
    this.#known.delete(request.subject);
    this.#known.set(request.subject, { request, quote: terms });
    const oldest = this.#known.keys().next();
    if (this.#known.size > KEPT && !oldest.done) this.#known.delete(oldest.value);
  }

  /**
   * The quote for a request: the last one, and what more bytes and more tokens than were asked for then may cost. A token
   * has at least one byte.
   *
   * @returns Undefined when it cannot be told: nothing is known, or one request bounds its answer and the other does not.
   */
  estimate(request: QuotedRequest): Quote | undefined {
    const known = this.#known.get(request.subject);
    if (!known) return undefined;
    const { quote } = known;
    const { size, maxTokens } = known.request;
    if ((maxTokens === undefined) !== (request.maxTokens === undefined)) return undefined;
    const moreBytes = Math.max(0, request.size - size);
    const moreTokens = Math.max(0, (request.maxTokens ?? 0) - (maxTokens ?? 0));
    const { pricePerPromptToken, pricePerCompletionToken } = quote.terms;
    const more = pricePerPromptToken * BigInt(moreBytes) + pricePerCompletionToken * BigInt(moreTokens);
    return { ...quote, maxPrice: quote.maxPrice + more };
  }
}
