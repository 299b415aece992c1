import { z } from "zod";
import type { ChatMessage } from "../engine/engine.ts";
import type { AskedJob } from "../serving/served-job.ts";
import { generationFields, generationOf, MAX_BIASED, MAX_TEXT } from "./generation-fields.ts";
import { InvalidRequest, invalidRequestOf } from "./invalid-request.ts";
import { refuseUnsupported } from "./unsupported-fields.ts";

/** The two ways of asking, by path. */
export const CHAT_PATH = "/v1/chat/completions";
export const COMPLETION_PATH = "/v1/completions";

const MAX_MESSAGES = 2_048;
const MAX_PARTS = 256;
/** Keywords of a JSON Schema on its first level. */
const MAX_KEYWORDS = 1_024;

const text = z.string().max(MAX_TEXT);
const content = z.union(
  [
    text,
    z
      .array(z.object({ type: z.literal("text"), text }))
      .min(1)
      .max(MAX_PARTS),
  ],
  {
    error: "must be text, or a list of parts of type text",
  },
);
const message = z.object({
  role: z.enum(["system", "developer", "user", "assistant"], {
    error: "must be system, developer, user or assistant",
  }),
  content,
  name: z.string().max(256).nullish(),
});

/** Body of `POST /v1/chat/completions`. */
export const chatRequest = z
  .object({
    messages: z.array(message).min(1, "must hold a message").max(MAX_MESSAGES),
    ...generationFields,
    max_completion_tokens: generationFields.max_tokens.describe("Goes before max_tokens"),
    logprobs: z.boolean().nullish(),
    top_logprobs: z.number().int().min(0).max(20).nullish(),
  })
  .refine((body) => body.top_logprobs == null || body.logprobs === true, {
    path: ["top_logprobs"],
    message: "needs logprobs to be true",
  });

/** Body of `POST /v1/completions`. */
export const completionRequest = z.object({
  prompt: z.union([text, z.array(text).length(1)], { error: "must be one text" }),
  ...generationFields,
  logprobs: z.number().int().min(0).max(5).nullish(),
});

/** What a client asks, whichever way. */
export interface InferenceRequest {
  readonly path: typeof CHAT_PATH | typeof COMPLETION_PATH;
  /** As the client wrote it: `name` or `name@version`. */
  readonly model: string;
  readonly stream: boolean;
  /** The stream ends with a chunk that counts tokens. */
  readonly includeUsage: boolean;
  readonly asked: Pick<AskedJob, "prompt" | "sampling" | "maxTokens" | "stop" | "logprobs" | "responseFormat">;
}

/**
 * Reads the body of a request.
 *
 * @param body What parsing its JSON gave.
 * @throws {InvalidRequest} Naming the field that is wrong or that asks for what there is not.
 */
export function readInferenceRequest(path: string, body: unknown): InferenceRequest {
  refuseFloods(body);
  refuseUnsupported(body);
  if (path === CHAT_PATH) return readChat(body);
  if (path === COMPLETION_PATH) return readCompletion(body);
  throw new InvalidRequest(`Nothing is answered at ${path}.`, null);
}

function readChat(body: unknown): InferenceRequest {
  checkMessages(body);
  const { data, error } = chatRequest.safeParse(body);
  if (error) throw invalidRequestOf(error);
  const { messages, max_tokens, max_completion_tokens, logprobs, top_logprobs } = data;
  const generation = generationOf({ ...data, max_tokens: max_completion_tokens ?? max_tokens });
  return {
    path: CHAT_PATH,
    ...framing(data),
    asked: {
      prompt: { messages: messages.map(messageOf) },
      ...generation,
      ...(logprobs === true && { logprobs: top_logprobs ?? 0 }),
    },
  };
}

/** The schemas look at all entries before they count them, and at millions of them for seconds. */
function refuseFloods(body: unknown): void {
  if (!isObject(body)) return;
  const { messages, logit_bias: biases, response_format: wanted } = body;
  if (Array.isArray(messages)) refuseMore(messages, MAX_MESSAGES, "messages");
  if (isObject(biases)) refuseMore(Object.keys(biases), MAX_BIASED, "logit_bias");
  const format = isObject(wanted) ? wanted.json_schema : undefined;
  const schema = isObject(format) ? format.schema : undefined;
  if (isObject(schema)) refuseMore(Object.keys(schema), MAX_KEYWORDS, "response_format.json_schema.schema");
}

/** Stops at the first message that is wrong: the schema would say of each what it lacks. */
function checkMessages(body: unknown): void {
  const messages = (body as { messages?: unknown } | null)?.messages;
  if (!Array.isArray(messages)) return;
  messages.forEach((given: { content?: unknown } | null, i) => {
    if (Array.isArray(given?.content)) refuseMore(given.content, MAX_PARTS, `messages[${i}].content`);
    const { error } = message.safeParse(given);
    if (error) throw invalidRequestOf(error, ["messages", i]);
  });
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}

function refuseMore({ length }: readonly unknown[], most: number, param: string): void {
  if (length > most) throw new InvalidRequest(`Invalid '${param}': has ${length} entries, more than ${most}.`, param);
}

function readCompletion(body: unknown): InferenceRequest {
  const { data, error } = completionRequest.safeParse(body);
  if (error) throw invalidRequestOf(error);
  const { prompt, logprobs } = data;
  return {
    path: COMPLETION_PATH,
    ...framing(data),
    asked: {
      prompt: { text: typeof prompt === "string" ? prompt : prompt[0] },
      ...generationOf(data),
      ...(logprobs != null && { logprobs }),
    },
  };
}

function framing(data: Pick<z.output<typeof completionRequest>, "model" | "stream" | "stream_options">) {
  const stream = data.stream === true;
  return { model: data.model, stream, includeUsage: stream && data.stream_options?.include_usage === true };
}

function messageOf({ role, content: given, name }: z.output<typeof message>): ChatMessage {
  return {
    // The name that OpenAI's newer models have for it; chat templates know the older one.
    role: role === "developer" ? "system" : role,
    content: typeof given === "string" ? given : given.map((part) => part.text).join(""),
    ...(name != null && { name }),
  };
}
