import type { TokenEvent } from "../engine.ts";
import type { HttpClient } from "./http-client.ts";
import {
  arrayFrom,
  isObject,
  type JsonObject,
  malformed,
  numberFrom,
  objectFrom,
  optionalString,
  stringFrom,
} from "./json.ts";
import { openAiUsage } from "./openai-server.ts";
import { streamPiece } from "./remote-errors.ts";
import { cutStream, likeliest, type RemoteEvent, textLogprob } from "./remote-protocol.ts";

/** Ends of a choice under their names at SGLang (OpenAI's) and LoRAX. */
const ENDINGS: Readonly<Record<string, "stop" | "length">> = {
  stop: "stop",
  eos_token: "stop",
  stop_sequence: "stop",
  length: "length",
};

/** Streams `POST /v1/chat/completions`: text by choice, log-probabilities where the server gives them, and the usage. */
export async function* chatEvents(
  http: HttpClient,
  body: object,
  top: number | undefined,
  usesAdapter: boolean,
  signal: AbortSignal,
): AsyncGenerator<RemoteEvent> {
  let finished = false;
  for await (const event of http.events("/v1/chat/completions", body, { signal, usesAdapter })) {
    if (event.data === "[DONE]") return;
    const chunk = streamPiece(event.data, { server: http.server, usesAdapter });
    for (const item of arrayFrom(chunk.choices ?? [], "the choices")) {
      const piece = objectFrom(item, "a choice");
      const choice = numberFrom(piece.index, "a choice's index");
      yield* deltaEvents(piece, choice, top);
      const ending = optionalString(piece.finish_reason);
      if (ending === undefined) continue;
      if (!Object.hasOwn(ENDINGS, ending)) throw malformed("an unknown end", ending);
      finished = true;
      const stopString = optionalString(piece.matched_stop);
      yield { type: "finish", choice, reason: ENDINGS[ending], ...(stopString !== undefined && { stopString }) };
    }
    if (isObject(chunk.usage)) yield openAiUsage(chunk.usage);
  }
  // LoRAX ends the connection after the last piece; it sends no [DONE].
  if (!finished) throw cutStream(http.server);
}

function* deltaEvents(piece: JsonObject, choice: number, top: number | undefined): Generator<RemoteEvent> {
  const delta = isObject(piece.delta) ? piece.delta : {};
  const text = stringFrom(delta.content ?? "", "a choice's text");
  const entries = isObject(piece.logprobs) ? arrayFrom(piece.logprobs.content ?? [], "the log-probabilities") : [];
  const logprobs = top === undefined ? [] : entries.map((entry) => tokenLogprob(entry, top));
  const count = Math.max(logprobs.length, text === "" ? 0 : 1);
  for (let i = 0; i < count; i++) {
    const logprob = logprobs[i];
    const last = i === count - 1;
    yield { type: "token", choice, text: last ? text : "", ...(logprob !== undefined && { logprob }) };
  }
}

function tokenLogprob(entry: unknown, top: number): NonNullable<TokenEvent["logprob"]> {
  const item = objectFrom(entry, "a token's log-probability");
  const alternatives = arrayFrom(item.top_logprobs ?? [], "the likeliest tokens").map(plainEntry);
  return { ...plainEntry(item), top: likeliest(alternatives, top) };
}

function plainEntry(entry: unknown) {
  const item = objectFrom(entry, "a token's log-probability");
  return textLogprob(stringFrom(item.token, "a token"), numberFrom(item.logprob, "a log-probability"));
}
