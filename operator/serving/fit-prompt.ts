import type { Composition } from "../protocol/composition.ts";
import { type ComposedPrompt, composePrompt, type PromptInputs, wholePrompt } from "./compose-prompt.ts";
import type { ModelText } from "./model-text.ts";
import { ServingError } from "./served-job.ts";

/** How much is put into a prompt, and how much is kept free for the answer. */
export interface PromptLimits {
  /** Passages in one prompt at most. Default 8. */
  readonly passages: number;
  /** Tokens of all passages together at most. Default 1,024. */
  readonly passageTokens: number;
  /** Tokens of one tool's result at most; longer ones are cut. Default 512. */
  readonly resultTokens: number;
  /** Tokens kept free for an answer whose length the client left open. Default 256. */
  readonly answerTokens: number;
}

export const DEFAULT_PROMPT_LIMITS: PromptLimits = {
  passages: 8,
  passageTokens: 1_024,
  resultTokens: 512,
  answerTokens: 256,
};

/** What bounds a job's tokens. */
export interface TokenBudget {
  readonly composition: Pick<Composition, "pricePerJob" | "pricePerPromptToken" | "pricePerCompletionToken">;
  /** Wei of OPEN. */
  readonly maxPrice: bigint;
  /** Longest sequence of the engine, prompt and answer together. */
  readonly contextTokens: number;
}

/**
 * Tokens that may be generated after a prompt of so many.
 *
 * @throws {ServingError} `promptTooLong` or `priceTooLow` when there is no room for one.
 */
export function answerRoom({ composition, maxPrice, contextTokens }: TokenBudget, promptTokens: number): number {
  const left = contextTokens - promptTokens;
  if (left < 1) {
    throw new ServingError(
      "promptTooLong",
      `The prompt has ${promptTokens} tokens, the context holds ${contextTokens}.`,
    );
  }
  const spent = composition.pricePerJob + composition.pricePerPromptToken * BigInt(promptTokens);
  const perToken = composition.pricePerCompletionToken;
  if (maxPrice < spent + perToken) {
    throw new ServingError(
      "priceTooLow",
      `A prompt of ${promptTokens} tokens and one token of answer cost ${spent + perToken} wei, the voucher allows ${maxPrice}.`,
    );
  }
  if (perToken === 0n) return left;
  const affordable = (maxPrice - spent) / perToken;
  return affordable < BigInt(left) ? Number(affordable) : left;
}

/**
 * The prompt with as many of the best passages as leave room for an answer: in the context, and under the price.
 *
 * @param wanted Tokens of answer that the client asks for at most.
 * @throws {ServingError} `promptTooLong` or `priceTooLow` when it does not fit without any passage.
 */
export function fitPrompt(
  inputs: PromptInputs,
  model: ModelText,
  budget: TokenBudget,
  limits: PromptLimits,
  wanted = limits.answerTokens,
): { composed: ComposedPrompt; promptTokens: number } {
  const attempt = (count: number) => {
    const composed = composePrompt({ ...inputs, passages: inputs.passages.slice(0, count) }, model);
    const promptTokens = model.count(wholePrompt(composed));
    return { composed, promptTokens };
  };
  let used = 0;
  let count = 0;
  for (const { passage } of inputs.passages.slice(0, limits.passages)) {
    used += model.count({ text: model.plain(passage.text) });
    if (used > limits.passageTokens) break;
    count += 1;
  }
  const bare = attempt(0);
  // Half of what there is goes to the answer where it is not enough for all that is wanted.
  const kept = Math.min(wanted, Math.ceil(answerRoom(budget, bare.promptTokens) / 2));
  for (; count > 0; count--) {
    const fitted = attempt(count);
    if (hasRoom(budget, fitted.promptTokens, kept)) return fitted;
  }
  return bare;
}

function hasRoom(budget: TokenBudget, promptTokens: number, tokens: number): boolean {
  try {
    return answerRoom(budget, promptTokens) >= tokens;
  } catch (error) {
    if (error instanceof ServingError) return false;
    throw error;
  }
}
