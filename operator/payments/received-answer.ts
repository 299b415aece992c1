import { canonicalJson, type Json } from "../protocol/canonical-json.ts";

/** Tokens that a receipt charges for. */
interface ChargedTokens {
  promptTokens: number;
  completionTokens: number;
}

interface StreamedChoice {
  delta?: { content?: unknown };
  text?: unknown;
  finish_reason?: unknown;
}

/**
 * The bytes that the response hash of a receipt stands for, from an answer that was not streamed: canonical JSON of its
 * members `object`, `model`, `choices` and `usage`. The others are the gateway's.
 *
 * @param body Of the response.
 * @returns Undefined when it is no answer, or counts other tokens than its receipt.
 */
export function wholeAnswer(body: Uint8Array, charged: ChargedTokens): Uint8Array | undefined {
  try {
    const { object, model, choices, usage } = JSON.parse(new TextDecoder().decode(body));
    const bytes = bytesOf({ object, model, choices, usage });
    return canonicalJson(usage) === canonicalJson(usageOf(charged)) ? bytes : undefined;
  } catch {
    return undefined;
  }
}

/** Puts a streamed answer together again. Log-probabilities of pieces may leave tokens without text out: not those. */
export class StreamedAnswer {
  #isChat = true;
  #model: unknown;
  #text = "";
  #finish: unknown = null;

  /** @param event A chunk in OpenAI's shape. */
  take(event: Readonly<Record<string, unknown>>): void {
    if (event.object === "text_completion") this.#isChat = false;
    this.#model ??= event.model;
    const choice: StreamedChoice | undefined = Array.isArray(event.choices) ? event.choices[0] : undefined;
    const piece = choice?.delta?.content ?? choice?.text;
    if (typeof piece === "string") this.#text += piece;
    this.#finish = choice?.finish_reason ?? this.#finish;
  }

  /** As {@link wholeAnswer}, of what was taken; the receipt says how many tokens it was. */
  bytes(charged: ChargedTokens): Uint8Array | undefined {
    const text = this.#text.toWellFormed();
    const said = this.#isChat ? { message: { role: "assistant", content: text, refusal: null } } : { text };
    try {
      return bytesOf({
        object: this.#isChat ? "chat.completion" : "text_completion",
        model: this.#model,
        choices: [{ index: 0, ...said, logprobs: null, finish_reason: this.#finish }],
        usage: usageOf(charged),
      });
    } catch {
      return undefined;
    }
  }
}

function usageOf({ promptTokens, completionTokens }: ChargedTokens) {
  return {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
  };
}

/** @throws {TypeError} For what JSON cannot hold. */
function bytesOf(answer: Record<string, unknown>): Uint8Array {
  return new TextEncoder().encode(canonicalJson(answer as Json));
}
