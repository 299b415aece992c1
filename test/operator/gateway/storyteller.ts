import { setTimeout as sleep } from "node:timers/promises";
import type { ScoredToken } from "../../../operator/api/logprobs.ts";
import { toHex } from "../../../operator/protocol/bytes.ts";
import { keccak } from "../../../operator/protocol/keccak.ts";
import type { AttributionEntry } from "../../../operator/protocol/receipt.ts";
import {
  type AnswerPiece,
  type ServedAnswer,
  type ServeJob,
  ServingError,
} from "../../../operator/serving/served-job.ts";

const scored = (token: string): ScoredToken => {
  const own = { token, bytes: [...Buffer.from(token)], logprob: -0.5 };
  return { ...own, top: [own] };
};

/**
 * Stands in for engine, retrieval and attribution, which have tests of their own: it says the words of the last
 * question backwards, one a piece and a token, always the same. Words in capitals are orders: `FAIL` cannot be answered,
 * `SLOW` takes 20 ms for each word, `LONG` goes on for 400 words, and those of `LOUD` have 60,000 letters each.
 */
export function storyteller(context: readonly AttributionEntry[]): ServeJob {
  return async (asked, onPiece, signal): Promise<ServedAnswer> => {
    const { prompt, maxTokens = 1_000, logprobs } = asked;
    const question = "text" in prompt ? prompt.text : prompt.messages.at(-1)!.content;
    const words = question.split(/\s+/);
    if (words.includes("FAIL")) throw new ServingError("promptTooLong", "The prompt is too long.");
    const filling = "o".repeat(words.includes("LOUD") ? 60_000 : 0);
    const order = words.includes("LONG")
      ? Array.from({ length: 400 }, (_, i) => `word${i}${filling}`)
      : words.toReversed();
    const pieces: AnswerPiece[] = [];
    for (const word of order) {
      if (words.includes("SLOW")) await sleep(20, undefined, { signal }).catch(() => undefined);
      if (signal.aborted || pieces.length === maxTokens) break;
      const text = pieces.length === 0 ? word : ` ${word}`;
      pieces.push({ at: pieces.length, text, ...(logprobs !== undefined && { logprobs: [scored(text)] }) });
      onPiece(pieces.at(-1)!);
    }
    if (signal.aborted && pieces.length === 0) throw new ServingError("cancelled", "The client has left.");
    const trace = new TextEncoder().encode(JSON.stringify({ format: 1, question }));
    return {
      text: pieces.map(({ text }) => text).join(""),
      end: signal.aborted ? "cancelled" : pieces.length < order.length ? "length" : "stop",
      ...(logprobs !== undefined && { logprobs: pieces.flatMap((piece) => piece.logprobs!) }),
      promptTokens: words.length,
      completionTokens: pieces.length,
      context: [...context],
      training: [],
      tools: [],
      trace,
      traceHash: toHex(keccak(trace)),
    };
  };
}
