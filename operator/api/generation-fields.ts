import { z } from "zod";
import type { ResponseFormat, SamplingOptions } from "../engine/engine.ts";
import type { AskedJob } from "../serving/served-job.ts";

/** Characters of one text at most: more than any model here reads, less than what hurts. */
export const MAX_TEXT = 4_194_304;
const MAX_STOPS = 16;
export const MAX_BIASED = 1_024;

const stopText = z.string().min(1, "a stop sequence must not be empty").max(1_024);

const responseFormat = z
  .discriminatedUnion(
    "type",
    [
      z.object({ type: z.literal("text") }),
      z.object({ type: z.literal("json_object") }),
      z.object({
        type: z.literal("json_schema"),
        json_schema: z.object({
          name: z.string().max(64).optional(),
          description: z.string().max(16_384).nullish(),
          schema: z.record(z.string(), z.unknown()).nullish(),
          strict: z.boolean().nullish(),
        }),
      }),
    ],
    { error: "must have the type text, json_object or json_schema" },
  )
  .describe("Makes the answer JSON, or JSON of a schema");

/** What both ways of asking take: OpenAI's fields, and `top_k`, `min_p` and `repetition_penalty` as vLLM has them. */
export const generationFields = {
  model: z
    .string()
    .min(1, "must name an agent")
    .max(256)
    .describe("Name of an agent, or `name@version`; without a version the newest"),
  stream: z.boolean().nullish().describe("Send the answer as server-sent events while it comes"),
  stream_options: z
    .object({ include_usage: z.boolean().nullish().describe("End the stream with a chunk that counts tokens") })
    .nullish(),
  max_tokens: z.number().int().min(1).max(1_000_000).nullish(),
  temperature: z.number().min(0).max(2).nullish(),
  top_p: z.number().gt(0).max(1).nullish(),
  top_k: z.number().int().min(-1).max(1_000_000).nullish().describe("Keep the k likeliest tokens; 0 or -1: all"),
  min_p: z.number().min(0).max(1).nullish(),
  repetition_penalty: z.number().gt(0).max(10).nullish(),
  presence_penalty: z.number().min(-2).max(2).nullish(),
  frequency_penalty: z.number().min(-2).max(2).nullish(),
  logit_bias: z
    .record(z.string().regex(/^\d{1,9}$/, "names tokens by their number"), z.number().min(-100).max(100))
    .describe(`At most ${MAX_BIASED} tokens`)
    .nullish(),
  seed: z.number().int().min(Number.MIN_SAFE_INTEGER).max(Number.MAX_SAFE_INTEGER).nullish(),
  stop: z
    .union([stopText, z.array(stopText).max(MAX_STOPS)], { error: `must be a text or up to ${MAX_STOPS}` })
    .nullish(),
  response_format: responseFormat.nullish(),
  n: z.literal(1, { error: "one answer for each request: ask again for another" }).nullish(),
  user: z.string().max(1_024).nullish().describe("Ignored: who pays is the channel"),
  metadata: z.unknown().optional().describe("Ignored"),
};

/** The fields of {@link generationFields}, read. */
export type GenerationFields = z.output<z.ZodObject<typeof generationFields>>;

/** The parts of a job that both ways of asking share. */
export function generationOf(
  fields: GenerationFields,
): Pick<AskedJob, "sampling" | "maxTokens" | "stop" | "responseFormat"> {
  const stop = typeof fields.stop === "string" ? [fields.stop] : fields.stop;
  const format = formatOf(fields);
  return {
    sampling: samplingOf(fields),
    ...(fields.max_tokens != null && { maxTokens: fields.max_tokens }),
    ...(stop != null && stop.length > 0 && { stop }),
    ...(format && { responseFormat: format }),
  };
}

function samplingOf(fields: GenerationFields): SamplingOptions {
  const given = {
    temperature: fields.temperature,
    topP: fields.top_p,
    topK: fields.top_k,
    minP: fields.min_p,
    repetitionPenalty: fields.repetition_penalty,
    presencePenalty: fields.presence_penalty,
    frequencyPenalty: fields.frequency_penalty,
    logitBias: fields.logit_bias,
    seed: fields.seed,
  };
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value != null));
}

function formatOf({ response_format: format }: GenerationFields): ResponseFormat | undefined {
  if (!format || format.type === "text") return undefined;
  const schema = format.type === "json_schema" ? format.json_schema.schema : undefined;
  return schema ? { type: "json_schema", schema } : { type: "json_object" };
}
