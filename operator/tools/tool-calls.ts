/** A call that the model asks for. */
export interface ToolCall {
  readonly name: string;
  readonly arguments: Record<string, unknown>;
}

const OPEN = "<tool_call>";
const CLOSE = "</tool_call>";

/**
 * Whether the beginning of an answer may yet turn out to be tool calls, so that it must not be shown. An answer asks for
 * tools when it begins with a call, after the model's thoughts if it thinks aloud.
 */
export function mayBeCalls(text: string): boolean {
  const start = text.trimStart();
  return [OPEN, "<think>"].some((mark) => start.startsWith(mark) || mark.startsWith(start));
}

/**
 * The calls in an answer, as models of the Hermes and Qwen families write them: `<tool_call>{"name": …, "arguments":
 * {…}}</tool_call>`, one or several. Undefined when the answer is not made of calls, or one of them cannot be read: then
 * it is an answer like any other.
 */
export function readToolCalls(text: string): ToolCall[] | undefined {
  let rest = text.replace(/^\s*<think>.*?<\/think>/s, "").trim();
  const calls: ToolCall[] = [];
  while (rest.startsWith(OPEN)) {
    const end = rest.indexOf(CLOSE);
    // The closing mark is missing where it is what ended the generation.
    const call = readCall(rest.slice(OPEN.length, end < 0 ? undefined : end));
    if (!call) return undefined;
    calls.push(call);
    rest = end < 0 ? "" : rest.slice(end + CLOSE.length).trimStart();
  }
  return calls.length > 0 && rest === "" ? calls : undefined;
}

function readCall(text: string): ToolCall | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (!isObject(value) || typeof value.name !== "string") return undefined;
  const given = value.arguments ?? {};
  return isObject(given) ? { name: value.name, arguments: given } : undefined;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
