import type { Prompt, ResponseFormat, ScoreResult, TokenEvent } from "../engine.ts";
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
  tokenIdsFrom,
} from "./json.ts";
import { openAiModels, openAiSampling, openAiUsage, schemaFormat } from "./openai-server.ts";
import { streamPiece } from "./remote-errors.ts";
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
} from "./remote-protocol.ts";

/** Contexts of one scoring request: vLLM batches them, and one answer stays of a size that can be read at once. */
const SCORE_CHUNK = 64;

/**
 * vLLM's OpenAI-compatible server (`--enable-lora`, and `VLLM_ALLOW_RUNTIME_LORA_UPDATING=True` to load adapters).
 * Chat prompts are turned into tokens by the server's `/tokenize`, so that every generation is a completion of token
 * ids and its trace can be done again. Log-probabilities are those of `--logprobs-mode raw_logprobs`, the default.
 */
export function vllmProtocol(http: HttpClient): RemoteProtocol {
  const { facts, served, serves } = openAiModels(http);

  async function tokenize(body: object, model: string, signal: AbortSignal): Promise<number[]> {
    const answer = objectFrom(await http.post("/tokenize", { model, ...body }, { signal }), "the tokens");
    return tokenIdsFrom(answer.tokens, "the tokens");
  }

  function promptTokens(prompt: Prompt, model: string, signal: AbortSignal): Promise<readonly number[]> {
    if ("tokens" in prompt) return Promise.resolve(prompt.tokens);
    if ("text" in prompt) return tokenize({ prompt: prompt.text, add_special_tokens: true }, model, signal);
    const { messages, tools } = prompt;
    return tokenize({ messages, ...(tools && { tools }), add_generation_prompt: true }, model, signal);
  }

  async function* generate(call: GenerateCall, signal: AbortSignal): AsyncGenerator<RemoteEvent> {
    const { request } = call;
    const { model: baseName, maxContextTokens } = call.server;
    const adapter = onlyAdapter("vLLM", call.adapters);
    const model = adapter?.name ?? baseName;
    // Tokens are needed where the prompt's length decides (vLLM's own default is 16 tokens) and for chat.
    const plainText = "text" in request.prompt && request.maxTokens !== undefined;
    const prompt = plainText ? request.prompt.text : await promptTokens(request.prompt, baseName, signal);
    const left = typeof prompt === "string" ? undefined : (maxContextTokens ?? Infinity) - prompt.length;
    const maxTokens = Math.min(request.maxTokens ?? Infinity, left ?? Infinity);
    const body = {
      model,
      prompt,
      // No room left is for the server to say, in its own words.
      ...(Number.isFinite(maxTokens) && { max_tokens: Math.max(1, maxTokens) }),
      n: call.choices,
      ...openAiSampling(request),
      ...(request.responseFormat && { response_format: responseFormat(request.responseFormat) }),
      ...(call.seed !== undefined && { seed: call.seed }),
      ...(request.logprobs !== undefined && { logprobs: request.logprobs }),
      return_token_ids: true,
      stream: true,
      stream_options: { include_usage: true },
    };
    let started = false;
    for await (const event of http.events("/v1/completions", body, { signal, usesAdapter: adapter !== undefined })) {
      if (event.data === "[DONE]") return;
      const chunk = streamPiece(event.data, { server: "vLLM", usesAdapter: adapter !== undefined });
      if (chunk.model !== undefined && chunk.model !== model) {
        throw malformed(`"${model}" was asked for, another model answers`, chunk.model);
      }
      for (const choice of arrayFrom(chunk.choices, "the choices")) {
        const piece = objectFrom(choice, "a choice");
        if (!started && Array.isArray(piece.prompt_token_ids)) {
          started = true;
          yield { type: "prompt", tokenIds: tokenIdsFrom(piece.prompt_token_ids, "the prompt's tokens") };
        }
        yield* choiceEvents(piece, request.logprobs);
      }
      if (isObject(chunk.usage)) yield openAiUsage(chunk.usage);
    }
    throw cutStream("vLLM");
  }

  async function score(call: ScoreCall, signal: AbortSignal): Promise<ScoreResult> {
    const { contexts, continuation } = call.request;
    const baseName = call.server.model;
    const adapter = onlyAdapter("vLLM", call.adapters);
    const wanted = checkedContinuation(
      "tokens" in continuation
        ? continuation.tokens
        : await tokenize({ prompt: continuation.text, add_special_tokens: false }, baseName, signal),
    );
    const prefixes = await Promise.all(contexts.map((context) => promptTokens(context, baseName, signal)));
    const scores: ScoreResult["scores"][number][] = [];
    let cachedTokens = 0;
    for (let first = 0; first < prefixes.length; first += SCORE_CHUNK) {
      const chunk = prefixes.slice(first, first + SCORE_CHUNK);
      const body = {
        model: adapter?.name ?? baseName,
        prompt: chunk.map((prefix) => [...prefix, ...wanted]),
        max_tokens: 1,
        temperature: 0,
        prompt_logprobs: 1,
      };
      const options = { signal, timeout: "firstByte", usesAdapter: adapter !== undefined } as const;
      const answer = objectFrom(await http.post("/v1/completions", body, options), "the scores");
      if (answer.model !== undefined && answer.model !== body.model) {
        throw malformed(`"${body.model}" was asked for, another model answers`, answer.model);
      }
      const choices = new Map<number, JsonObject>();
      for (const choice of arrayFrom(answer.choices, "the choices")) {
        const piece = objectFrom(choice, "a choice");
        choices.set(numberFrom(piece.index, "a choice's index"), piece);
      }
      for (const [index, prefix] of chunk.entries()) {
        const logprobs = arrayFrom(choices.get(index)?.prompt_logprobs, "a prompt's log-probabilities");
        scores.push(scoreOf(continuationLogprobs(logprobs, prefix.length, wanted), prefix.length));
      }
      const usage = isObject(answer.usage) ? openAiUsage(answer.usage) : undefined;
      cachedTokens += usage?.cachedTokens ?? 0;
    }
    const promptCount = prefixes.reduce((sum, prefix) => sum + prefix.length + wanted.length, 0);
    return {
      continuationTokenIds: wanted,
      scores,
      usage: { promptTokens: promptCount, cachedTokens, completionTokens: 0 },
    };
  }

  return {
    kind: "vllm",
    supports: { scoring: true, logprobs: true, jsonSchema: true, blends: false, loadAdapters: true, chat: true },
    severalChoices: true,
    facts,
    served,
    load: async (adapter, signal) => {
      const body = { lora_name: adapter.name, lora_path: adapter.path };
      const options = { signal, timeout: "load", usesAdapter: true, read: "text" } as const;
      await http.post("/v1/load_lora_adapter", body, options).catch(async (error) => {
        if (!(await serves(adapter, signal))) throw error;
      });
      return adapter;
    },
    unload: async (adapter, signal) => {
      const body = { lora_name: adapter.name };
      await http.post("/v1/unload_lora_adapter", body, { signal, usesAdapter: true, read: "text" });
    },
    generate,
    score,
  };
}

function responseFormat(format: ResponseFormat): object {
  return format.type === "json_schema" ? schemaFormat(format.schema) : format;
}

/** A chunk may carry several tokens; its text belongs to the last of them, where it became certain. */
function* choiceEvents(piece: JsonObject, top: number | undefined): Generator<RemoteEvent> {
  const choice = numberFrom(piece.index, "a choice's index");
  const text = stringFrom(piece.text ?? "", "a choice's text");
  const ids = Array.isArray(piece.token_ids) ? tokenIdsFrom(piece.token_ids, "a choice's tokens") : undefined;
  const logprobs = top === undefined || !isObject(piece.logprobs) ? [] : chunkLogprobs(piece.logprobs, top, ids);
  const count = Math.max(ids?.length ?? 0, logprobs.length, text === "" ? 0 : 1);
  for (let i = 0; i < count; i++) {
    const tokenId = ids?.[i];
    const logprob = logprobs[i];
    yield {
      type: "token",
      choice,
      ...(tokenId !== undefined && { tokenId }),
      text: i === count - 1 ? text : "",
      ...(logprob !== undefined && { logprob }),
    };
  }
  if (piece.finish_reason === null || piece.finish_reason === undefined) return;
  if (piece.finish_reason !== "stop" && piece.finish_reason !== "length") {
    throw malformed("the server gave the request up", piece.finish_reason);
  }
  const stopString = optionalString(piece.stop_reason);
  yield { type: "finish", choice, reason: piece.finish_reason, ...(stopString !== undefined && { stopString }) };
}

function chunkLogprobs(logprobs: JsonObject, top: number, ids: number[] | undefined) {
  const tokens = arrayFrom(logprobs.tokens, "the tokens' texts");
  const values = arrayFrom(logprobs.token_logprobs, "the log-probabilities");
  const tops = Array.isArray(logprobs.top_logprobs) ? logprobs.top_logprobs : [];
  return tokens.map((token, i): NonNullable<TokenEvent["logprob"]> => {
    const entries = isObject(tops[i]) ? Object.entries(tops[i]) : [];
    const alternatives = entries.map(([text, value]) => textLogprob(text, numberFrom(value, "a log-probability")));
    const chosen = textLogprob(stringFrom(token, "a token"), numberFrom(values[i], "a log-probability"), ids?.[i]);
    return { ...chosen, top: likeliest(alternatives, top) };
  });
}

/** `prompt_logprobs[i]` maps token ids to `{logprob}` at position i; the actual token is always among them. */
function continuationLogprobs(logprobs: readonly unknown[], start: number, wanted: readonly number[]): number[] {
  if (logprobs.length !== start + wanted.length) {
    throw malformed("it gives log-probabilities of another number of tokens", logprobs.length);
  }
  return wanted.map((id, i) => {
    const entry = objectFrom(logprobs[start + i], "a position's log-probabilities")[String(id)];
    return numberFrom(objectFrom(entry, "a token's log-probability").logprob, "a log-probability");
  });
}
