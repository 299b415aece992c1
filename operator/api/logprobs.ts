import type { TokenLogprob } from "../engine/engine.ts";

/** A token of the answer with its log-probability and its likeliest rivals. */
export type ScoredToken = TokenLogprob & { readonly top: readonly TokenLogprob[] };

/** What JSON can hold in the place of minus infinity; OpenAI's own. */
const LEAST = -9_999;

const finite = (logprob: number) => (Number.isFinite(logprob) ? logprob : LEAST);

/** Log-probabilities in the shape of chat completions. */
export function chatLogprobs(tokens: readonly ScoredToken[]) {
  const shape = ({ token, logprob, bytes }: TokenLogprob) => ({
    token: token.toWellFormed(),
    logprob: finite(logprob),
    bytes: [...bytes],
  });
  return { content: tokens.map((token) => ({ ...shape(token), top_logprobs: token.top.map(shape) })), refusal: null };
}

/**
 * Log-probabilities in the shape of completions.
 *
 * @param start Characters of the answer before the first of these tokens.
 */
export function completionLogprobs(tokens: readonly ScoredToken[], start = 0) {
  let offset = start;
  const text_offset = tokens.map(({ token }) => {
    const at = offset;
    offset += token.length;
    return at;
  });
  return {
    tokens: tokens.map(({ token }) => token.toWellFormed()),
    token_logprobs: tokens.map(({ logprob }) => finite(logprob)),
    top_logprobs: tokens.map(({ top }) =>
      Object.fromEntries(top.map(({ token, logprob }) => [token.toWellFormed(), finite(logprob)])),
    ),
    text_offset,
  };
}
