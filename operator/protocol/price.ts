import type { Composition } from "./composition.ts";

/** What an agent version asks, in wei of OPEN. */
export type PriceTerms = Pick<Composition, "pricePerJob" | "pricePerPromptToken" | "pricePerCompletionToken">;

/** What a job used. */
export interface Usage {
  promptTokens: number;
  completionTokens: number;
}

/** The price of a job by the agent version's terms, at most the voucher's maximum. Wei of OPEN. */
export function priceOf(terms: PriceTerms, usage: Usage, maxPrice: bigint): bigint {
  const price =
    terms.pricePerJob +
    terms.pricePerPromptToken * BigInt(usage.promptTokens) +
    terms.pricePerCompletionToken * BigInt(usage.completionTokens);
  return price < maxPrice ? price : maxPrice;
}
