import type { Engine, Prompt, ScoreRequest, ScoreResult } from "../../../operator/engine/engine.ts";
import { EngineError } from "../../../operator/engine/engine-error.ts";

/** Token ids of a text: one for each run of letters and for each other character that is no white space. */
export function ngramTokens(text: string): number[] {
  return (text.toLowerCase().match(/[\p{L}\p{N}]+|[^\s\p{L}\p{N}]/gu) ?? []).map((token) => {
    let hash = 17;
    for (let i = 0; i < token.length; i++) hash = (Math.imul(hash, 31) + token.charCodeAt(i)) >>> 0;
    return hash;
  });
}

const VOCABULARY = 50_000;

/**
 * A language model small enough to check by hand: interpolated trigram, bigram and unigram frequencies of the context
 * and of its adapters' texts. It copies from what it reads, so what stands in the context decides what is likely.
 */
export function ngramEngine(adapters: Readonly<Record<string, string>> = {}): Engine {
  const unsupported = () => {
    throw new EngineError("unsupported", "The n-gram model only scores.");
  };
  return {
    info: async () => ({
      kind: "ngram",
      model: "ngram",
      modelHash: "0x6e",
      exact: true,
      supports: { scoring: true, logprobs: false, jsonSchema: false, blends: true, loadAdapters: false, chat: true },
      settings: {},
    }),
    score: async (request) => score(request, adapters),
    adapters: async () => Object.keys(adapters).map((id) => ({ id, tier: "memory", pinned: false, inUse: 0 })),
    generate: unsupported,
    loadAdapter: unsupported,
    prefetchAdapter: unsupported,
    pinAdapter: unsupported,
    unloadAdapter: unsupported,
    metrics: async () => [],
    drain: async () => {},
    close: async () => {},
  };
}

function score(request: ScoreRequest, known: Readonly<Record<string, string>>): ScoreResult {
  const { continuation, contexts, adapters = [] } = request;
  const answer = "tokens" in continuation ? [...continuation.tokens] : ngramTokens(continuation.text);
  const learnt = adapters.map(({ id }) => ngramTokens(known[id]));
  let promptTokens = 0;
  const scores = contexts.map((context) => {
    const tokens = contextTokens(context);
    promptTokens += tokens.length + answer.length;
    const counts = new Map<string, number>();
    for (const text of [tokens, ...learnt]) {
      for (let i = 0; i < text.length; i++) {
        for (let n = 0; n <= 3 && n <= i + 1; n++) {
          const key = text.slice(i + 1 - n, i + 1).join();
          counts.set(key, (counts.get(key) ?? 0) + 1);
          if (n > 0) {
            const before = `${text.slice(i + 1 - n, i).join()}>`;
            counts.set(before, (counts.get(before) ?? 0) + 1);
          }
        }
      }
    }
    const whole = [...tokens, ...answer];
    const tokenLogprobs = answer.map((token, i) => {
      const at = tokens.length + i;
      let probability = 0;
      let left = 1;
      [0.1, 0.3, 0.5].forEach((weight, order) => {
        if (at < order) return;
        const before = whole.slice(at - order, at);
        const seen = counts.get(`${before.join()}>`);
        if (!seen) return;
        probability += (weight * (counts.get([...before, token].join()) ?? 0)) / seen;
        left -= weight;
      });
      return Math.log(probability + left / VOCABULARY);
    });
    const logprob = tokenLogprobs.reduce((sum, value) => sum + value, 0);
    return { logprob, tokenLogprobs, contextTokens: tokens.length };
  });
  return { continuationTokenIds: answer, scores, usage: { promptTokens, cachedTokens: 0, completionTokens: 0 } };
}

function contextTokens(prompt: Prompt): number[] {
  if ("tokens" in prompt) return [...prompt.tokens];
  if ("text" in prompt) return ngramTokens(prompt.text);
  return ngramTokens(prompt.messages.map(({ role, content }) => `${role} : ${content}`).join("\n"));
}
