import type { Source, TracedPrompt } from "../attribution/traced-prompt.ts";
import { renderPrompt } from "../attribution/traced-prompt.ts";
import type { Passage } from "../retrieval/data-net-index.ts";
import { type ModelText, plainDeep } from "./model-text.ts";
import type { TemplatePiece } from "./prompt-template.ts";
import { type AskedJob, ServingError } from "./served-job.ts";

/** A part of the prompt, as attribution has it. */
type Part = { readonly text: string; readonly source?: number };
type Message = Extract<TracedPrompt, { messages: unknown }>["messages"][number];

/** What goes into a prompt beside what the client sent. */
export interface PromptInputs {
  readonly asked: AskedJob["prompt"];
  readonly question: string;
  /** The registered prompt's id and content. */
  readonly template?: { readonly id: number; readonly pieces: readonly TemplatePiece[] };
  /** Passages in order of rank, with what lets them earn and who owns them. */
  readonly passages: readonly RetrievedPassage[];
  /** Results of tools called beforehand. */
  readonly results: readonly {
    readonly id: number;
    readonly via: number;
    readonly name: string;
    readonly text: string;
  }[];
  /** Offered to the model, in the form that chat templates take. */
  readonly offered?: readonly unknown[];
}

export interface RetrievedPassage {
  readonly passage: Passage;
  /** Index of its DataNet in the composition. */
  readonly via: number;
  readonly owner: string;
}

export interface ComposedPrompt {
  readonly prompt: TracedPrompt;
  readonly sources: readonly Source[];
}

const ROLES = new Set(["system", "user", "assistant", "tool"]);

/**
 * Puts a prompt together so that every stretch of it is known by who it comes from.
 *
 * System message: the registered prompt with passages and results of tools in their places, then the client's own
 * system messages. Passages of one contribution stand together, contributions by their best passage, each passage on a
 * line of its own. A text to continue has the same before it.
 */
export function composePrompt(inputs: PromptInputs, model: ModelText): ComposedPrompt {
  const { asked, template, results, offered } = inputs;
  const groups = Map.groupBy(inputs.passages, ({ passage }) => passage.contribution);
  const sources: Source[] = [];
  const indexOf = new Map<string, number>();
  const addSource = (source: Source) => {
    indexOf.set(`${source.kind} ${source.id}`, sources.length);
    sources.push(source);
  };
  if (template) addSource({ kind: "prompt", id: template.id, via: 0 });
  for (const id of [...groups.keys()].sort((a, b) => a - b)) addSource(contributionSource(groups.get(id)!));
  for (const { id, via } of results) addSource({ kind: "tool", id, via });

  const system: Part[] = [];
  const own = template ? { source: 0 } : {};
  const documents: Part[] = [...groups.values()].flat().map(({ passage }) => ({
    text: model.plain(passage.text),
    source: indexOf.get(`contribution ${passage.contribution}`)!,
  }));
  const told: Part[] = results.map(({ id, name, text }) => ({
    text: model.plain(`${name}: ${text}`),
    source: indexOf.get(`tool ${id}`)!,
  }));
  const pieces: readonly TemplatePiece[] = template?.pieces ?? [{ place: "documents" }, { place: "tools" }];
  for (const piece of pieces) {
    if ("text" in piece) system.push({ text: model.plain(piece.text), ...own });
    else if (piece.place === "question") system.push({ text: model.plain(inputs.question) });
    else {
      const list = piece.place === "documents" ? documents : told;
      // What was not given a place comes after a line's end.
      if (list.length > 0 && system.length > 0 && !endsLine(system)) system.push({ text: "\n", ...own });
      list.forEach((part, i) => {
        system.push(i === 0 ? part : { ...part, text: `\n${part.text}` });
      });
    }
  }
  if ("text" in asked) {
    const between = system.length > 0 ? [{ text: "\n\n" }] : [];
    return { prompt: { parts: [...system, ...between, { text: asked.text }] }, sources };
  }

  const messages: Message[] = [];
  let leading = true;
  for (const { role: given, content, ...rest } of asked.messages) {
    const role = given === "developer" ? "system" : given;
    if (!ROLES.has(role)) throw new ServingError("invalidRequest", `There is no role ${JSON.stringify(given)}.`);
    const text = model.plain(content);
    if (role === "system" && leading) {
      system.push({ text: system.length > 0 ? `\n\n${text}` : text });
      continue;
    }
    leading = false;
    messages.push({ role, parts: [{ text }], ...(plainDeep(rest, model) as object) });
  }
  if (system.length > 0) messages.unshift({ role: "system", parts: system });
  return { prompt: offered?.length ? { messages, tools: offered } : { messages }, sources };
}

function endsLine(parts: readonly Part[]): boolean {
  return /\s$/.test(parts.at(-1)!.text);
}

function contributionSource(group: readonly RetrievedPassage[]): Source {
  const [{ passage, via, owner }] = group;
  const passages = group.map(({ passage: { dataNet, version, path, start, end, rangeOver } }) => {
    return { dataNet, version, path, start, end, rangeOver };
  });
  return { kind: "contribution", id: passage.contribution, via, owner, passages };
}

/** The whole prompt, as the model gets it. */
export function wholePrompt({ prompt, sources }: ComposedPrompt) {
  return renderPrompt(
    prompt,
    sources.map(() => true),
  );
}

/** What a client asks: its last message, or the text that it wants continued. */
export function questionOf(prompt: AskedJob["prompt"]): string {
  if ("text" in prompt) return prompt.text;
  return prompt.messages.findLast(({ role }) => role === "user")?.content ?? prompt.messages.at(-1)?.content ?? "";
}
