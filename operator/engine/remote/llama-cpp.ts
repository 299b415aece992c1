import { basename } from "node:path";
import type { GenerateRequest } from "../engine.ts";
import { EngineError } from "../engine-error.ts";
import type { HttpClient } from "./http-client.ts";
import {
  arrayFrom,
  isObject,
  type JsonObject,
  malformed,
  numberFrom,
  objectFrom,
  optionalNumber,
  optionalString,
  parseJson,
  stringFrom,
  tokenIdsFrom,
} from "./json.ts";
import { refused } from "./remote-errors.ts";
import {
  cutStream,
  type GenerateCall,
  likeliest,
  type RemoteEvent,
  type RemoteProtocol,
  type ServedAdapter,
  type ServedUse,
} from "./remote-protocol.ts";

const ENDINGS: Readonly<Record<string, "stop" | "length">> = { eos: "stop", word: "stop", limit: "length" };

/**
 * llama.cpp's server. Its adapters are fixed when it starts (`--lora a.gguf`); an id that it does not know is ignored
 * and the base model answers, so every request asks for the list first and sends a scale for each entry of it.
 */
export function llamaCppProtocol(http: HttpClient): RemoteProtocol {
  async function served(signal?: AbortSignal): Promise<(ServedAdapter & { path: string; index: number })[]> {
    const list = arrayFrom(await http.get("/lora-adapters", { signal }), "the list of adapters");
    return list.map((item) => {
      const entry = objectFrom(item, "an adapter");
      const path = stringFrom(entry.path, "an adapter's path");
      const index = numberFrom(entry.id, "an adapter's id");
      return { id: basename(path).replace(/\.gguf$/, ""), name: path, path, index };
    });
  }

  /** A scale for every adapter that the server has: where none is named, it applies all of them as at its start. */
  async function scales(uses: readonly ServedUse[], signal: AbortSignal): Promise<{ id: number; scale: number }[]> {
    const list = await served(signal);
    const result = list.map(({ index }) => ({ id: index, scale: 0 }));
    for (const use of uses) {
      const matches = list.filter(({ path }) => path === use.name);
      if (matches.length !== 1) throw unknownAdapter(use.id, list);
      const entry = result.find(({ id }) => id === matches[0].index);
      if (entry !== undefined) entry.scale += use.weight;
    }
    return result;
  }

  async function promptOf({ prompt }: GenerateRequest, signal: AbortSignal): Promise<string | readonly number[]> {
    if ("text" in prompt) return prompt.text;
    if ("tokens" in prompt) return prompt.tokens;
    const body = { messages: prompt.messages, ...(prompt.tools && { tools: prompt.tools }) };
    return stringFrom(objectFrom(await http.post("/apply-template", body, { signal }), "the prompt").prompt, "it");
  }

  async function* generate(call: GenerateCall, signal: AbortSignal): AsyncGenerator<RemoteEvent> {
    const { request } = call;
    const lora = await scales(call.adapters, signal);
    const usesAdapter = call.adapters.length > 0;
    const body = {
      prompt: await promptOf(request, signal),
      ...samplingBody(call),
      lora,
      stream: true,
      return_tokens: true,
    };
    for await (const event of http.events("/completion", body, { signal, usesAdapter })) {
      if (event.data === "[DONE]") break;
      const chunk = objectFrom(parseJson(event.data), "a piece of the stream");
      if (event.error || chunk.error !== undefined) {
        const inner = isObject(chunk.error) ? chunk.error : chunk;
        throw refused("llama.cpp", optionalNumber(inner.code) ?? 500, chunk, usesAdapter);
      }
      yield* pieceEvents(chunk, request.logprobs);
      if (chunk.stop !== true) continue;
      if (usesAdapter) checkApplied(chunk, lora);
      if (chunk.truncated === true) {
        throw new EngineError("context_too_long", "llama.cpp: the prompt was cut to fit the context");
      }
      const ending = stringFrom(chunk.stop_type, "the reason of the end");
      if (!Object.hasOwn(ENDINGS, ending)) throw malformed("an unknown end", ending);
      const word = optionalString(chunk.stopping_word);
      yield { type: "finish", choice: 0, reason: ENDINGS[ending], ...(word ? { stopString: word } : {}) };
      yield {
        type: "usage",
        promptTokens: numberFrom(chunk.tokens_evaluated, "the usage"),
        cachedTokens: isObject(chunk.timings) ? (optionalNumber(chunk.timings.cache_n) ?? 0) : 0,
        completionTokens: numberFrom(chunk.tokens_predicted, "the usage"),
      };
      return;
    }
    throw cutStream("llama.cpp");
  }

  return {
    kind: "llama.cpp",
    supports: { scoring: false, logprobs: true, jsonSchema: true, blends: true, loadAdapters: false, chat: true },
    severalChoices: false,
    facts: async (signal) => {
      const props = objectFrom(await http.get("/props", { signal }), "the server's facts");
      const settings = isObject(props.default_generation_settings) ? props.default_generation_settings : {};
      const maxContextTokens = optionalNumber(settings.n_ctx);
      const version = optionalString(props.build_info);
      return {
        model: optionalString(props.model_alias) ?? stringFrom(props.model_path, "the model's path"),
        ...(maxContextTokens !== undefined && { maxContextTokens }),
        ...(version !== undefined && { version }),
      };
    },
    served,
    // Nothing can be loaded, but an adapter that was named at the start can be given the id that requests use.
    load: async (adapter, signal) => {
      const list = await served(signal);
      const matches = list.filter(
        ({ path }) => path === adapter.path || basename(path) === basename(adapter.path ?? ""),
      );
      const exact = matches.filter(({ path }) => path === adapter.path);
      const found = exact.length === 1 ? exact : matches;
      if (found.length !== 1) throw unknownAdapter(adapter.path ?? adapter.id, list);
      return { id: adapter.id, name: found[0].name, path: found[0].path };
    },
    unload: async () => undefined,
    generate,
  };
}

function unknownAdapter(id: string, list: readonly ServedAdapter[]): EngineError {
  const known = list.map(({ path }) => path).join(", ") || "none";
  return new EngineError(
    "unknown_adapter",
    `llama.cpp was not started with one adapter "${id}" (--lora FILE.gguf); it has: ${known}`,
    { adapter: id },
  );
}

/** Its defaults are not OpenAI's, so all of them are sent. */
function samplingBody({ request, seed }: GenerateCall): object {
  const { sampling = {}, responseFormat } = request;
  return {
    n_predict: request.maxTokens ?? -1,
    temperature: sampling.temperature ?? 1,
    top_k: Math.max(0, sampling.topK ?? 0),
    top_p: sampling.topP ?? 1,
    min_p: sampling.minP ?? 0,
    repeat_penalty: sampling.repetitionPenalty ?? 1,
    repeat_last_n: -1,
    presence_penalty: sampling.presencePenalty ?? 0,
    frequency_penalty: sampling.frequencyPenalty ?? 0,
    ...(sampling.logitBias && {
      logit_bias: Object.entries(sampling.logitBias).map(([id, bias]) => [Number(id), bias]),
    }),
    ...(seed !== undefined && { seed }),
    ...(request.stop && { stop: request.stop }),
    ignore_eos: request.ignoreEos ?? false,
    ...(request.logprobs !== undefined && { n_probs: Math.max(1, request.logprobs), post_sampling_probs: false }),
    ...(responseFormat?.type === "json_schema" && { json_schema: responseFormat.schema }),
    ...(responseFormat?.type === "json_object" && { json_schema: { type: "object" } }),
  };
}

function* pieceEvents(chunk: JsonObject, top: number | undefined): Generator<RemoteEvent> {
  const text = stringFrom(chunk.content ?? "", "a piece's text");
  const ids = Array.isArray(chunk.tokens) ? tokenIdsFrom(chunk.tokens, "a piece's tokens") : [];
  // The last piece repeats the log-probabilities of the whole answer; only pieces with tokens add any.
  const entries = chunk.stop === true ? [] : arrayFrom(chunk.completion_probabilities ?? [], "the log-probabilities");
  const logprobs = top === undefined ? [] : entries.map((item) => tokenLogprob(item, top));
  const count = Math.max(ids.length, logprobs.length, text === "" ? 0 : 1);
  for (let i = 0; i < count; i++) {
    const tokenId = ids[i] ?? logprobs[i]?.tokenId;
    yield {
      type: "token",
      choice: 0,
      ...(tokenId !== undefined && { tokenId }),
      text: i === count - 1 ? text : "",
      ...(logprobs[i] !== undefined && { logprob: logprobs[i] }),
    };
  }
}

function tokenLogprob(item: unknown, top: number) {
  const entry = objectFrom(item, "a token's log-probability");
  const alternatives = arrayFrom(entry.top_logprobs ?? [], "the likeliest tokens").map(plainEntry);
  return { ...plainEntry(entry), top: likeliest(alternatives, top) };
}

function plainEntry(item: unknown) {
  const entry = objectFrom(item, "a token's log-probability");
  return {
    tokenId: numberFrom(entry.id, "a token's id"),
    token: stringFrom(entry.token, "a token"),
    bytes: tokenIdsFrom(entry.bytes ?? [], "a token's bytes"),
    logprob: numberFrom(entry.logprob, "a log-probability"),
  };
}

/** The last piece repeats the settings in force; where it lists the adapters, they must be those asked for. */
function checkApplied(chunk: JsonObject, wanted: readonly { id: number; scale: number }[]): void {
  const settings = isObject(chunk.generation_settings) ? chunk.generation_settings : {};
  if (!Array.isArray(settings.lora)) return;
  const applied = new Map<unknown, number>();
  for (const item of settings.lora) {
    if (isObject(item)) applied.set(item.id, optionalNumber(item.scale) ?? 0);
  }
  for (const { id, scale } of wanted) {
    if (Math.abs((applied.get(id) ?? 0) - scale) > 1e-3) {
      throw malformed(`adapter ${id} was asked for with scale ${scale} and not applied so`, settings.lora);
    }
  }
}
