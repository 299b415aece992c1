import type { GenerateRequest, ScoreResult } from "../engine.ts";
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
} from "./json.ts";
import { chatEvents } from "./openai-chat.ts";
import { refused } from "./remote-errors.ts";
import {
  checkedContinuation,
  cutStream,
  type GenerateCall,
  likeliest,
  onlyAdapter,
  type RemoteEvent,
  type RemoteProtocol,
  type ScoreCall,
  type ServedAdapter,
  scoreOf,
  textLogprob,
  unsupported,
} from "./remote-protocol.ts";

const ENDINGS: Readonly<Record<string, "stop" | "length">> = {
  eos_token: "stop",
  stop_sequence: "stop",
  length: "length",
};

/**
 * LoRAX: adapters are read just in time from the source that the request names, so loading one here means asking for a
 * single token with it. Prompts are text only; its merging of adapters averages their factors, which is not the sum of
 * their updates, so blends are refused.
 */
export function loraxProtocol(http: HttpClient): RemoteProtocol {
  async function facts(signal?: AbortSignal) {
    const info = objectFrom(await http.get("/info", { signal }), "the server's facts");
    const maxContextTokens = optionalNumber(info.max_total_tokens);
    const version = optionalString(info.version);
    return {
      model: stringFrom(info.model_id, "the model's name"),
      ...(maxContextTokens !== undefined && { maxContextTokens }),
      ...(version !== undefined && { version }),
    };
  }

  async function* generate(call: GenerateCall, signal: AbortSignal): AsyncGenerator<RemoteEvent> {
    const { request } = call;
    const adapter = onlyAdapter("LoRAX", call.adapters);
    const parameters = samplingParameters(call);
    const { prompt } = request;
    if ("tokens" in prompt) unsupported("LoRAX", "take a prompt as token ids");
    if ("messages" in prompt) {
      if (request.logprobs !== undefined) unsupported("LoRAX", "give log-probabilities for chat");
      const { max_new_tokens: maxTokens, do_sample: sample, ...rest } = parameters as JsonObject;
      const source = adapter && adapterSource(adapter);
      const body = {
        ...rest,
        model: source?.adapter_id ?? call.server.model,
        ...(source && { adapter_source: source.adapter_source }),
        messages: prompt.messages,
        ...(prompt.tools && { tools: prompt.tools }),
        ...(maxTokens !== undefined && { max_tokens: maxTokens }),
        // Its chat samples only where `n` is given, whatever the temperature.
        ...(sample === true && { n: 1 }),
        stream: true,
      };
      yield* chatEvents(http, body, undefined, adapter !== undefined, signal);
      return;
    }
    const body = {
      inputs: prompt.text,
      parameters: { ...parameters, ...(adapter && adapterSource(adapter)), details: true, return_full_text: false },
    };
    let tokens = 0;
    for await (const event of http.events("/generate_stream", body, { signal, usesAdapter: adapter !== undefined })) {
      const chunk = objectFrom(parseJson(event.data), "a piece of the stream");
      if (chunk.error !== undefined) throw streamError(chunk, adapter !== undefined);
      const token = objectFrom(chunk.token, "a piece's token");
      tokens++;
      yield { type: "token", choice: 0, ...tokenFields(token, request.logprobs) };
      if (!isObject(chunk.details)) continue;
      const ending = stringFrom(chunk.details.finish_reason, "the reason of the end");
      if (!Object.hasOwn(ENDINGS, ending)) throw malformed("an unknown end", ending);
      yield { type: "finish", choice: 0, reason: ENDINGS[ending] };
      yield {
        type: "usage",
        promptTokens: optionalNumber(chunk.details.prompt_tokens) ?? 0,
        cachedTokens: 0,
        completionTokens: optionalNumber(chunk.details.generated_tokens) ?? tokens,
      };
      return;
    }
    throw cutStream("LoRAX");
  }

  async function tokenize(text: string, special: boolean, signal: AbortSignal): Promise<number[]> {
    const body = { inputs: text, add_special_tokens: special };
    const answer = arrayFrom(await http.post("/tokenize", body, { signal }), "the tokens");
    return answer.map((token) => numberFrom(objectFrom(token, "a token").id, "a token's id"));
  }

  async function scoreOne(text: string, wanted: readonly number[], call: ScoreCall, signal: AbortSignal) {
    const adapter = onlyAdapter("LoRAX", call.adapters);
    const parameters = {
      max_new_tokens: 1,
      do_sample: false,
      details: true,
      decoder_input_details: true,
      ...(adapter && adapterSource(adapter)),
    };
    const options = { signal, timeout: "firstByte", usesAdapter: adapter !== undefined } as const;
    const answer = objectFrom(await http.post("/generate", { inputs: text, parameters }, options), "a score");
    const prefill = arrayFrom(objectFrom(answer.details, "a score's details").prefill, "the prompt's tokens");
    const tail = prefill.slice(-wanted.length).map((token) => objectFrom(token, "a prompt's token"));
    // Text in, so tokens may join across the border between context and continuation: then this is another question.
    if (tail.length !== wanted.length || tail.some((token, i) => token.id !== wanted[i])) {
      unsupported("LoRAX", "score this continuation: its first token joins the context's last");
    }
    const logprobs = tail.map((token) => numberFrom(token.logprob, "a log-probability"));
    return scoreOf(logprobs, prefill.length - wanted.length);
  }

  async function score(call: ScoreCall, signal: AbortSignal): Promise<ScoreResult> {
    const { contexts, continuation } = call.request;
    if (!("text" in continuation)) unsupported("LoRAX", "score token ids");
    const wanted = checkedContinuation(await tokenize(continuation.text, false, signal));
    const texts = contexts.map((context) => {
      if (!("text" in context)) unsupported("LoRAX", "score under a context that is not text");
      return context.text + continuation.text;
    });
    const scores = await Promise.all(texts.map((text) => scoreOne(text, wanted, call, signal)));
    const promptTokens = scores.reduce((sum, { contextTokens }) => sum + contextTokens + wanted.length, 0);
    return { continuationTokenIds: wanted, scores, usage: { promptTokens, cachedTokens: 0, completionTokens: 0 } };
  }

  return {
    kind: "lorax",
    supports: { scoring: true, logprobs: true, jsonSchema: true, blends: false, loadAdapters: true, chat: true },
    severalChoices: false,
    facts,
    served: async () => [],
    load: async (adapter, signal) => {
      const parameters = { max_new_tokens: 1, do_sample: false, ...adapterSource(adapter) };
      const options = { signal, timeout: "load", usesAdapter: true } as const;
      const answer = await http.post("/generate", { inputs: "a", parameters }, options);
      objectFrom(answer, "the answer to loading");
      return adapter;
    },
    unload: async () => undefined,
    generate,
    score,
  };
}

/** `hub:`, `s3:` and `local:` before a path name LoRAX's sources; a bare path is a folder on the server's machine. */
function adapterSource(adapter: ServedAdapter): { adapter_id: string; adapter_source: string } {
  const path = adapter.path ?? adapter.name;
  const prefix = /^(hub|s3|local):/.exec(path);
  if (prefix === null) return { adapter_id: path, adapter_source: "local" };
  return { adapter_id: path.slice(prefix[0].length), adapter_source: prefix[1] };
}

function samplingParameters({ request, seed }: GenerateCall): object {
  const { sampling = {}, responseFormat } = request;
  const greedy = (sampling.temperature ?? 1) === 0;
  if (sampling.minP) unsupported("LoRAX", "sample with min-p");
  if (sampling.presencePenalty || sampling.frequencyPenalty) unsupported("LoRAX", "penalise presence or frequency");
  if (sampling.logitBias && Object.keys(sampling.logitBias).length > 0) unsupported("LoRAX", "bias logits");
  if (responseFormat?.type === "json_object") unsupported("LoRAX", "answer in JSON without a schema");
  if (request.logprobs !== undefined && !givesPlainLogprobs(request)) {
    unsupported("LoRAX", "give plain log-probabilities unless it is greedy and without penalties");
  }
  return {
    do_sample: !greedy,
    ...(!greedy && { temperature: sampling.temperature ?? 1 }),
    // 1 and 0 mean "off" here and are out of range there.
    ...(!greedy && (sampling.topP ?? 1) < 1 && { top_p: sampling.topP }),
    ...(!greedy && (sampling.topK ?? 0) > 0 && { top_k: sampling.topK }),
    ...((sampling.repetitionPenalty ?? 1) !== 1 && { repetition_penalty: sampling.repetitionPenalty }),
    ...(seed !== undefined && { seed }),
    ...(request.maxTokens !== undefined && { max_new_tokens: request.maxTokens }),
    ...(request.stop && { stop: request.stop }),
    ...(request.ignoreEos && { ignore_eos_token: true }),
    ...(request.logprobs && { return_k_alternatives: request.logprobs }),
    ...(responseFormat?.type === "json_schema" && {
      response_format: { type: "json_object", schema: responseFormat.schema },
    }),
  };
}

/** LoRAX takes log-probabilities after temperature, filters and penalties. */
function givesPlainLogprobs({ sampling = {} }: GenerateRequest): boolean {
  return (sampling.temperature ?? 1) === 0 && (sampling.repetitionPenalty ?? 1) === 1;
}

function tokenFields(token: JsonObject, top: number | undefined) {
  const text = stringFrom(token.text, "a token's text");
  const tokenId = numberFrom(token.id, "a token's id");
  // Special tokens (the end of the answer among them) are no part of the text.
  const fields = { tokenId, text: token.special === true ? "" : text };
  if (top === undefined) return fields;
  const alternatives = arrayFrom(token.alternative_tokens ?? [], "the likeliest tokens").map((item) => entry(item));
  return { ...fields, logprob: { ...entry(token), top: likeliest(alternatives, top) } };
}

function entry(token: unknown) {
  const item = objectFrom(token, "a token");
  const id = numberFrom(item.id, "a token's id");
  return textLogprob(stringFrom(item.text, "a token's text"), numberFrom(item.logprob, "a log-probability"), id);
}

/** Errors in a stream have no status, only the type that the status would have stood for. */
function streamError(chunk: JsonObject, usesAdapter: boolean) {
  const statuses: Readonly<Record<string, number>> = { generation: 424, overloaded: 429, validation: 422 };
  return refused("LoRAX", statuses[optionalString(chunk.error_type) ?? ""] ?? 500, chunk, usesAdapter);
}
