import { InvalidRequest } from "./invalid-request.ts";

type Fields = Readonly<Record<string, unknown>>;

const isThere = (value: unknown) => value !== undefined && value !== null && value !== false;
const isFilled = (value: unknown) => isThere(value) && !(Array.isArray(value) && value.length === 0);
const asksForMore = (value: unknown) => isThere(value) && value !== "none" && value !== "auto";
const aboveOne = (value: unknown) => typeof value === "number" && value > 1;

/**
 * Fields that other servers know and that would make the answer another one: dropping them without a word would be a
 * lie. Whatever is not here and not in the schemas is ignored, as clients expect.
 */
const UNSUPPORTED: readonly { name: string; isMeant: (value: unknown) => boolean; why: string }[] = [
  { name: "tools", isMeant: isFilled, why: "An agent's tools are those that its version names" },
  { name: "functions", isMeant: isFilled, why: "An agent's tools are those that its version names" },
  { name: "tool_choice", isMeant: asksForMore, why: "An agent's tools are those that its version names" },
  { name: "function_call", isMeant: asksForMore, why: "An agent's tools are those that its version names" },
  {
    name: "modalities",
    isMeant: (value) => Array.isArray(value) && value.some((kind) => kind !== "text"),
    why: "Answers are text",
  },
  { name: "audio", isMeant: isThere, why: "Answers are text" },
  { name: "web_search_options", isMeant: isThere, why: "What an agent reads is what its version names" },
  { name: "n", isMeant: aboveOne, why: "One answer for each request: ask again for another" },
  { name: "best_of", isMeant: aboveOne, why: "One answer for each request" },
  { name: "use_beam_search", isMeant: isThere, why: "Answers are sampled" },
  { name: "echo", isMeant: isThere, why: "The prompt is not given back" },
  { name: "suffix", isMeant: (value) => isThere(value) && value !== "", why: "Text is continued at its end" },
  { name: "min_tokens", isMeant: (value) => isThere(value) && value !== 0, why: "An answer ends where the model ends" },
  { name: "ignore_eos", isMeant: isThere, why: "An answer ends where the model ends" },
  { name: "stop_token_ids", isMeant: isFilled, why: "Use stop" },
  { name: "prompt_logprobs", isMeant: isThere, why: "Log-probabilities are of the answer" },
  { name: "guided_json", isMeant: isThere, why: "Use response_format" },
  { name: "guided_regex", isMeant: isThere, why: "Use response_format" },
  { name: "guided_choice", isMeant: isThere, why: "Use response_format" },
  { name: "guided_grammar", isMeant: isThere, why: "Use response_format" },
  { name: "structured_outputs", isMeant: isThere, why: "Use response_format" },
];
const MESSAGE_FIELDS: readonly { name: string; isMeant: (value: unknown) => boolean; why: string }[] = [
  { name: "tool_calls", isMeant: isFilled, why: "Tools are called by the agent, not by the client" },
  { name: "function_call", isMeant: isThere, why: "Tools are called by the agent, not by the client" },
  { name: "audio", isMeant: isThere, why: "Messages are text" },
];
const TOOL_ROLES: readonly unknown[] = ["tool", "function"];

/**
 * Refuses what OpenAI's API has and this one has not.
 *
 * @throws {InvalidRequest} `unsupported_parameter`, naming the field.
 */
export function refuseUnsupported(body: unknown): void {
  if (!isObject(body)) return;
  refuse(body, UNSUPPORTED, "");
  if (!Array.isArray(body.messages)) return;
  body.messages.forEach((message: unknown, i) => {
    if (!isObject(message)) return;
    const where = `messages[${i}]`;
    if (TOOL_ROLES.includes(message.role)) {
      throw unsupported(`${where}.role`, "Tools are called by the agent, not by the client");
    }
    refuse(message, MESSAGE_FIELDS, `${where}.`);
    if (!Array.isArray(message.content)) return;
    message.content.forEach((part: unknown, j) => {
      if (isObject(part) && typeof part.type === "string" && part.type !== "text") {
        throw unsupported(`${where}.content[${j}].type`, "Messages are text");
      }
    });
  });
}

function refuse(fields: Fields, rules: typeof UNSUPPORTED, prefix: string): void {
  for (const { name, isMeant, why } of rules) {
    if (Object.hasOwn(fields, name) && isMeant(fields[name])) throw unsupported(`${prefix}${name}`, why);
  }
}

function unsupported(param: string, why: string): InvalidRequest {
  return new InvalidRequest(`'${param}' is not supported. ${why}.`, param, "unsupported_parameter");
}

function isObject(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
