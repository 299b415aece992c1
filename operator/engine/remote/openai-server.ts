import type { GenerateRequest } from "../engine.ts";
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
} from "./json.ts";
import type { RemoteProtocol, ServedAdapter } from "./remote-protocol.ts";

/** What `/v1/models` says, as vLLM and SGLang fill it in: adapters name their base model as `parent`. */
export function openAiModels(http: HttpClient) {
  async function cards(signal?: AbortSignal): Promise<JsonObject[]> {
    const list = objectFrom(await http.get("/v1/models", { signal }), "the list of models");
    return arrayFrom(list.data, "the list of models").map((card) => objectFrom(card, "a model"));
  }
  const isAdapter = ({ parent }: JsonObject) => typeof parent === "string";

  const facts: RemoteProtocol["facts"] = async (signal) => {
    const card = (await cards(signal)).find((other) => !isAdapter(other));
    if (card === undefined) throw malformed("it serves no base model", "");
    const maxContextTokens = optionalNumber(card.max_model_len);
    return { model: stringFrom(card.id, "a model's id"), ...(maxContextTokens !== undefined && { maxContextTokens }) };
  };

  const served: RemoteProtocol["served"] = async (signal) =>
    (await cards(signal)).filter(isAdapter).map((card): ServedAdapter => {
      const name = stringFrom(card.id, "an adapter's name");
      const path = optionalString(card.root);
      return { id: name, name, ...(path !== undefined && { path }) };
    });

  /**
   * Whether an adapter is there already. Its name carries the content's hash or a random part, so one of that name and
   * path is this very adapter.
   */
  const serves = async (adapter: ServedAdapter, signal?: AbortSignal): Promise<boolean> =>
    (await cards(signal)).some(({ id, root }) => id === adapter.name && root === adapter.path);

  return { facts, served, serves };
}

/** Sampling under OpenAI's names. Every value is sent: servers otherwise take those of `generation_config.json`. */
export function openAiSampling({ sampling = {}, stop, ignoreEos }: GenerateRequest): object {
  return {
    temperature: sampling.temperature ?? 1,
    top_p: sampling.topP ?? 1,
    top_k: (sampling.topK ?? 0) > 0 ? sampling.topK : -1,
    min_p: sampling.minP ?? 0,
    repetition_penalty: sampling.repetitionPenalty ?? 1,
    presence_penalty: sampling.presencePenalty ?? 0,
    frequency_penalty: sampling.frequencyPenalty ?? 0,
    ...(sampling.logitBias && { logit_bias: sampling.logitBias }),
    ...(stop && { stop }),
    ignore_eos: ignoreEos ?? false,
  };
}

/** `response_format` for a schema. */
export function schemaFormat(schema: unknown): object {
  return { type: "json_schema", json_schema: { name: "answer", schema } };
}

/** The `usage` at the end of a stream, or of an answer. */
export function openAiUsage(usage: JsonObject) {
  const details = isObject(usage.prompt_tokens_details) ? usage.prompt_tokens_details : {};
  return {
    type: "usage" as const,
    promptTokens: numberFrom(usage.prompt_tokens, "the usage"),
    cachedTokens: optionalNumber(details.cached_tokens) ?? 0,
    completionTokens: optionalNumber(usage.completion_tokens) ?? 0,
  };
}
