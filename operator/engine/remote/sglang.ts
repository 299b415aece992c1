import type { GenerateRequest, Prompt, ScoreResult } from "../engine.ts";
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
  stringFrom,
  tokenIdsFrom,
} from "./json.ts";
import { chatEvents } from "./openai-chat.ts";
import { openAiModels, openAiSampling, schemaFormat } from "./openai-server.ts";
import { refused, streamPiece } from "./remote-errors.ts";
import {
  checkedContinuation,
  cutStream,
  type GenerateCall,
  likeliest,
  onlyAdapter,
  type RemoteEvent,
  type RemoteProtocol,
  type ScoreCall,
  scoreOf,
  textLogprob,
  unsupported,
} from "./remote-protocol.ts";

/**
 * SGLang's server, its native `/generate` for text and tokens and its OpenAI-compatible chat for messages. Adapters
 * are loaded at run time with `--enable-lora --max-lora-rank R --lora-target-modules all`.
 */
export function sglangProtocol(http: HttpClient): RemoteProtocol {
  const { facts, served, serves } = openAiModels(http);

  async function tokenize(text: string, special: boolean, signal: AbortSignal): Promise<number[]> {
    const body = { prompt: text, add_special_tokens: special };
    return tokenIdsFrom(objectFrom(await http.post("/tokenize", body, { signal }), "the tokens").tokens, "the tokens");
  }

  async function contextTokens(prompt: Prompt, signal: AbortSignal): Promise<readonly number[]> {
    if ("tokens" in prompt) return prompt.tokens;
    if ("text" in prompt) return tokenize(prompt.text, true, signal);
    return unsupported("SGLang", "score chat messages (it gives no tokens for them): render them first");
  }

  async function* chat(call: GenerateCall, signal: AbortSignal): AsyncGenerator<RemoteEvent> {
    const { prompt } = call.request;
    if (!("messages" in prompt)) return;
    const adapter = onlyAdapter("SGLang", call.adapters);
    const body = {
      model: call.server.model,
      messages: prompt.messages,
      ...(prompt.tools && { tools: prompt.tools }),
      ...(adapter && { lora_path: adapter.name }),
      ...chatSampling(call),
      n: call.choices,
      stream: true,
      stream_options: { include_usage: true },
    };
    yield* chatEvents(http, body, call.request.logprobs, adapter !== undefined, signal);
  }

  async function* generate(call: GenerateCall, signal: AbortSignal): AsyncGenerator<RemoteEvent> {
    const { request } = call;
    requirePlainDistribution(request);
    const { prompt } = request;
    if ("messages" in prompt) {
      yield* chat(call, signal);
      return;
    }
    const adapter = onlyAdapter("SGLang", call.adapters);
    const body = {
      ...("text" in prompt ? { text: prompt.text } : { input_ids: prompt.tokens }),
      sampling_params: { ...nativeSampling(call), n: call.choices },
      ...(adapter && { lora_path: adapter.name }),
      ...(request.logprobs !== undefined && {
        return_logprob: true,
        top_logprobs_num: request.logprobs,
        return_text_in_logprobs: true,
      }),
      stream: true,
    };
    const progress = new Map<number, ChoiceProgress>();
    for await (const event of http.events("/generate", body, { signal, usesAdapter: adapter !== undefined })) {
      if (event.data === "[DONE]") {
        yield totals(progress);
        return;
      }
      // Without a status it is the request that was refused.
      const chunk = streamPiece(event.data, { server: "SGLang", usesAdapter: adapter !== undefined, unstated: 400 });
      const choice = optionalNumber(chunk.index) ?? 0;
      const seen = progress.get(choice) ?? { text: "", tokens: 0, prompt: 0, cached: 0 };
      progress.set(choice, seen);
      yield* pieceEvents(chunk, choice, seen, request.logprobs);
    }
    throw cutStream("SGLang");
  }

  async function score(call: ScoreCall, signal: AbortSignal): Promise<ScoreResult> {
    const { contexts, continuation } = call.request;
    const adapter = onlyAdapter("SGLang", call.adapters);
    const wanted = checkedContinuation(
      "tokens" in continuation ? continuation.tokens : await tokenize(continuation.text, false, signal),
    );
    const prefixes = await Promise.all(contexts.map((context) => contextTokens(context, signal)));
    if (prefixes.some((prefix) => prefix.length === 0)) unsupported("SGLang", "score a continuation of nothing");
    const body = {
      input_ids: prefixes.map((prefix) => [...prefix, ...wanted]),
      sampling_params: { max_new_tokens: 0, temperature: 0 },
      return_logprob: true,
      // The entry at the start is always empty, so start at the context's last token.
      logprob_start_len: prefixes.map((prefix) => prefix.length - 1),
      ...(adapter && { lora_path: prefixes.map(() => adapter.name) }),
    };
    const options = { signal, timeout: "firstByte", usesAdapter: adapter !== undefined } as const;
    const answers = arrayFrom(await http.post("/generate", body, options), "the scores");
    if (answers.length !== prefixes.length) throw malformed("it scores another number of contexts", answers.length);
    let cachedTokens = 0;
    const scores = answers.map((answer, i) => {
      const meta = objectFrom(objectFrom(answer, "a score").meta_info, "a score's meta_info");
      cachedTokens += optionalNumber(meta.cached_tokens) ?? 0;
      const entries = arrayFrom(meta.input_token_logprobs, "a prompt's log-probabilities").slice(-wanted.length);
      return scoreOf(checkedLogprobs(entries, wanted), prefixes[i].length);
    });
    const promptTokens = prefixes.reduce((sum, prefix) => sum + prefix.length + wanted.length, 0);
    return { continuationTokenIds: wanted, scores, usage: { promptTokens, cachedTokens, completionTokens: 0 } };
  }

  return {
    kind: "sglang",
    supports: { scoring: true, logprobs: true, jsonSchema: true, blends: false, loadAdapters: true, chat: true },
    severalChoices: true,
    facts,
    served,
    load: async (adapter, signal) => {
      const body = { lora_name: adapter.name, lora_path: adapter.path, pinned: adapter.pinned };
      const options = { signal, timeout: "load", usesAdapter: true } as const;
      try {
        const answer = objectFrom(await http.post("/load_lora_adapter", body, options), "the answer to loading");
        const loaded = isObject(answer.loaded_adapters) ? adapter.name in answer.loaded_adapters : true;
        if (answer.success !== true || !loaded) throw refused("SGLang", 400, answer, true);
      } catch (error) {
        if (await serves(adapter, signal)) return adapter;
        // A failed load may have reached some of the workers: take it back from all of them.
        await http.post("/unload_lora_adapter", { lora_name: adapter.name }, { signal }).catch(() => undefined);
        throw error;
      }
      return adapter;
    },
    unload: async (adapter, signal) => {
      const options = { signal, timeout: "load", usesAdapter: true } as const;
      const answer = await http.post("/unload_lora_adapter", { lora_name: adapter.name }, options);
      if (!isObject(answer) || answer.success !== true) throw refused("SGLang", 400, answer, true);
    },
    generate,
    score,
  };
}

interface ChoiceProgress {
  text: string;
  tokens: number;
  prompt: number;
  cached: number;
}

/** SGLang takes log-probabilities after temperature and penalties; what it then gives is not what we promise. */
function requirePlainDistribution({ logprobs, sampling = {} }: GenerateRequest): void {
  if (logprobs === undefined) return;
  const temperature = sampling.temperature ?? 1;
  const changed = sampling.repetitionPenalty ?? 1;
  const shifted = sampling.presencePenalty || sampling.frequencyPenalty || sampling.logitBias;
  if ((temperature === 0 || temperature === 1) && changed === 1 && !shifted) return;
  unsupported("SGLang", "give plain log-probabilities at a temperature other than 0 or 1 or with penalties or biases");
}

function nativeSampling({ request, seed }: GenerateCall): object {
  const { responseFormat } = request;
  return {
    max_new_tokens: request.maxTokens ?? null,
    ...openAiSampling(request),
    ...(seed !== undefined && { sampling_seed: seed }),
    // Left in, so that the text only grows; stop strings are cut here, before anything is passed on.
    no_stop_trim: true,
    ...(responseFormat?.type === "json_schema" && { json_schema: JSON.stringify(responseFormat.schema) }),
    ...(responseFormat?.type === "json_object" && { json_schema: '{"type": "object"}' }),
  };
}

function chatSampling(call: GenerateCall): object {
  const { request } = call;
  const {
    max_new_tokens: maxTokens,
    sampling_seed: seed,
    json_schema: schema,
    ...rest
  } = nativeSampling(call) as {
    max_new_tokens: number | null;
    sampling_seed?: number;
    json_schema?: string;
  };
  return {
    ...rest,
    ...(maxTokens !== null && { max_tokens: maxTokens }),
    ...(seed !== undefined && { seed }),
    ...(schema !== undefined && {
      response_format: schemaFormat(JSON.parse(schema)),
    }),
    ...(request.logprobs !== undefined && { logprobs: true, top_logprobs: request.logprobs }),
  };
}

/** Text, ids and log-probabilities are totals so far, or (`--incremental-streaming-output`) what is new. */
function* pieceEvents(
  chunk: JsonObject,
  choice: number,
  seen: ChoiceProgress,
  top: number | undefined,
): Generator<RemoteEvent> {
  const meta = objectFrom(chunk.meta_info, "a piece's meta_info");
  const finish = meta.finish_reason;
  if (isObject(finish) && finish.type === "abort") {
    const status = optionalNumber(finish.status_code) ?? 500;
    throw refused("SGLang", status, { message: optionalString(finish.message) ?? "the request was aborted" }, false);
  }
  const total = optionalNumber(meta.completion_tokens) ?? seen.tokens;
  const fresh = Math.max(0, total - seen.tokens);
  const ids = Array.isArray(chunk.output_ids) ? tokenIdsFrom(chunk.output_ids, "a piece's tokens") : undefined;
  const lists = arrayFrom(meta.output_token_logprobs ?? [], "the log-probabilities");
  const known = ids?.length ?? (lists.length > 0 ? lists.length : total);
  const cumulative = known === total;
  const text = stringFrom(chunk.text ?? "", "a piece's text");
  if (cumulative && !text.startsWith(seen.text)) throw malformed("text that was sent is taken back", text);
  const added = cumulative ? text.slice(seen.text.length) : text;
  const tops = arrayFrom(meta.output_top_logprobs ?? [], "the likeliest tokens");
  const count = Math.max(fresh, added === "" ? 0 : 1);
  for (let i = 0; i < count; i++) {
    const fromEnd = i - count;
    const entry = top === undefined || i >= fresh ? undefined : lists.at(fromEnd);
    const alternatives = top ? arrayFrom(tops.at(fromEnd) ?? [], "the likeliest tokens") : [];
    const tokenId = ids?.at(fromEnd) ?? (entry === undefined ? undefined : tokenEntry(entry).tokenId);
    yield {
      type: "token",
      choice,
      ...(tokenId !== undefined && { tokenId }),
      text: i === count - 1 ? added : "",
      ...(entry !== undefined && {
        logprob: { ...tokenEntry(entry), top: likeliest(alternatives.map(tokenEntry), top ?? 0) },
      }),
    };
  }
  seen.text = cumulative ? text : seen.text + text;
  seen.tokens = total;
  seen.prompt = optionalNumber(meta.prompt_tokens) ?? seen.prompt;
  seen.cached = optionalNumber(meta.cached_tokens) ?? seen.cached;
  if (!isObject(finish)) return;
  if (finish.type !== "stop" && finish.type !== "length") throw malformed("an unknown end", finish.type);
  const stopString = optionalString(finish.matched);
  yield { type: "finish", choice, reason: finish.type, ...(stopString !== undefined && { stopString }) };
}

/** `[logprob, id, text | null]`. */
function tokenEntry(entry: unknown) {
  const [logprob, id, text] = arrayFrom(entry, "a token's log-probability");
  return textLogprob(
    optionalString(text) ?? "",
    numberFrom(logprob, "a log-probability"),
    numberFrom(id, "a token's id"),
  );
}

function checkedLogprobs(entries: readonly unknown[], wanted: readonly number[]): number[] {
  if (entries.length !== wanted.length) throw malformed("log-probabilities are missing", entries.length);
  return entries.map((entry, i) => {
    const { logprob, tokenId } = tokenEntry(entry);
    if (tokenId !== wanted[i]) throw malformed("it scores another token than the one sent", tokenId);
    return logprob;
  });
}

function totals(progress: Map<number, ChoiceProgress>): RemoteEvent {
  const all = [...progress.values()];
  return {
    type: "usage",
    promptTokens: all[0]?.prompt ?? 0,
    cachedTokens: all[0]?.cached ?? 0,
    completionTokens: all.reduce((sum, { tokens }) => sum + tokens, 0),
  };
}
