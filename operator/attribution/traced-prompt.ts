import type { ChatMessage, Prompt } from "../engine/engine.ts";

/** A stretch of the prompt. Without a source it belongs to the question or the frame and is never left out. */
interface PromptPart {
  readonly text: string;
  /** Index in the list of sources. Labels and separators of a passage belong to its source. */
  readonly source?: number;
}

/** A message whose parts know where they come from. */
interface TracedMessage {
  readonly role: string;
  readonly parts: readonly PromptPart[];
  /** The whole message goes with this source: a tool's call and its result. */
  readonly source?: number;
  readonly name?: string;
  readonly tool_calls?: readonly unknown[];
  readonly tool_call_id?: string;
}

/** What the model was given, in parts: raw text, or messages for its chat template. */
export type TracedPrompt =
  | { readonly parts: readonly PromptPart[] }
  | { readonly messages: readonly TracedMessage[]; readonly tools?: readonly unknown[] };

/** Where a retrieved passage stands. */
export interface PassagePlace {
  readonly dataNet: number;
  readonly version: number;
  readonly path: string;
  /** Bytes, `end` exclusive. */
  readonly start: number;
  readonly end: number;
  readonly rangeOver: "source" | "extracted";
}

/** Something that may have moved the answer. Each contribution, prompt and tool is listed once. */
export interface Source {
  readonly kind: "contribution" | "prompt" | "tool";
  /** Id in the protocol's space. Contributions' ids ascend in order of registration. */
  readonly id: number;
  /** Index of the DataNet or of the tool in the composition; 0 for the prompt. */
  readonly via: number;
  /** Who is registered as its owner. Contributions of one owner are measured as one. */
  readonly owner?: string;
  readonly passages?: readonly PassagePlace[];
}

/**
 * The prompt as the model would get it without some sources. A message whose parts are all left out is left out itself.
 *
 * @param present For each source whether it stays.
 */
export function renderPrompt(prompt: TracedPrompt, present: readonly boolean[]): Prompt {
  const stays = ({ source }: { source?: number }) => source === undefined || present[source];
  const join = (parts: readonly PromptPart[]) =>
    parts
      .filter(stays)
      .map((part) => part.text)
      .join("");
  if ("parts" in prompt) return { text: join(prompt.parts) };
  const messages: ChatMessage[] = [];
  for (const message of prompt.messages) {
    const { parts, source, ...rest } = message;
    if (!stays({ source }) || (parts.length > 0 && !parts.some(stays))) continue;
    messages.push({ ...rest, content: join(parts) });
  }
  return prompt.tools ? { messages, tools: prompt.tools } : { messages };
}

/** All text that stands in the prompt from each source. */
export function sourceTexts(prompt: TracedPrompt, sources: readonly Source[]): string[] {
  const texts: string[] = sources.map(() => "");
  const parts = "parts" in prompt ? prompt.parts : prompt.messages.flatMap((message) => message.parts);
  for (const { text, source } of parts) if (source !== undefined) texts[source] += `${text}\n`;
  return texts;
}
