import type { Composition } from "./composition.ts";

/** What a job used. */
export interface Usage {
  promptTokens: number;
  completionTokens: number;
}

/** The price of a job by the agent version's terms, at most the voucher's maximum. Wei of OPEN. */
export function priceOf(composition: Composition, usage: Usage, maxPrice: bigint): bigint {
  const price =
    composition.pricePerJob +
    composition.pricePerPromptToken * BigInt(usage.promptTokens) +
    composition.pricePerCompletionToken * BigInt(usage.completionTokens);
  return price < maxPrice ? price : maxPrice;
}
