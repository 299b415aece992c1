/** Log-probabilities of one position under the model's plain distribution. */
interface PositionLogprobs {
  readonly chosen: number;
  /** Likeliest first, the lower token id first among equals. */
  readonly top: readonly { readonly tokenId: number; readonly logprob: number }[];
}

/**
 * @param logits [vocab], before any penalty or mask; not changed
 * @param normaliser log Σ e^logit
 * @param token whose log-probability is `chosen`
 * @param topCount how many of the likeliest tokens to report
 */
export function positionLogprobs(
  logits: Float32Array,
  normaliser: number,
  token: number,
  topCount: number,
): PositionLogprobs {
  const top: { tokenId: number; logprob: number }[] = [];
  for (let i = 0; i < logits.length && topCount > 0; i++) {
    const logprob = logits[i] - normaliser;
    if (top.length === topCount && !(logprob > top[topCount - 1].logprob)) continue;
    let at = top.length;
    while (at > 0 && top[at - 1].logprob < logprob) at--;
    top.splice(at, 0, { tokenId: i, logprob });
    if (top.length > topCount) top.pop();
  }
  return { chosen: logits[token] - normaliser, top };
}
