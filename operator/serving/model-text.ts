import { WORD_JOINER, withoutJoiners } from "../attribution/plain-text.ts";
import type { Prompt } from "../engine/engine.ts";
import { readModelConfig } from "../engine/model/config.ts";
import { readTokenizer } from "../engine/model/tokenizer.ts";
import { ServingError } from "./served-job.ts";

/** Bytes of a token where nobody tells what the model's tokens are: on the side of too many tokens. */
const BYTES_PER_TOKEN = 3;

/** What serving needs to know of how a model reads text. */
export interface ModelText {
  /**
   * The same text with nothing in it that the model takes for a control token (`<|user|>`, `<tool_call>`): a word joiner
   * stands after the first character of each, and nowhere else. Text of others goes into a prompt in this form only.
   */
  plain(text: string): string;
  /**
   * Tokens of a prompt.
   *
   * @throws {ServingError} `invalidRequest` when the chat template refuses the messages, or a message's text would still
   *   be read as control tokens.
   */
  count(prompt: Prompt): number;
  /** Token ids of a prompt, where the model's files are here. */
  encode?(prompt: Prompt): readonly number[];
  /** Text of an answer's tokens, where the model's files are here. */
  textOf?(tokens: readonly number[]): string;
  /** As {@link textOf}, control tokens shown. */
  shownOf?(tokens: readonly number[]): string;
  /** Token that ends an answer. */
  readonly end?: number;
}

/** As the model's own files say. @throws ModelFormatError */
export function readModelText(folder: string): ModelText {
  const config = readModelConfig(folder);
  const { tokenizer, encode, decode, applyTemplate } = readTokenizer(folder, config.vocabSize);
  const control = new Map<number, string>();
  for (const [id, { content, special }] of tokenizer.get_added_tokens_decoder()) {
    // Some models add runs of spaces as tokens: those control nothing.
    if ([...content].length > 1 && (special || /^(<.*>|\[.*\])$/s.test(content))) control.set(id, content);
  }
  const render = (prompt: Extract<Prompt, { messages: unknown }>): number[] =>
    encode(
      applyTemplate(
        [...prompt.messages].map((message) => ({ ...message })),
        prompt.tools && { tools: prompt.tools },
      ),
      {
        special: false,
      },
    );
  const ids = (prompt: Prompt): readonly number[] => {
    if ("tokens" in prompt) return prompt.tokens;
    if ("text" in prompt) return encode(prompt.text);
    try {
      const written = render(prompt);
      // Tokenizers differ in how they find control tokens, so what they found is compared with what the template wrote.
      const frame = render({ ...prompt, messages: prompt.messages.map((message) => ({ ...message, content: "x" })) });
      const marks = (list: readonly number[]) => list.filter((id) => control.has(id)).join();
      if (marks(written) !== marks(frame)) {
        throw new ServingError("invalidRequest", "A message's text holds what the model reads as control tokens.");
      }
      return written;
    } catch (error) {
      if (error instanceof ServingError) throw error;
      throw new ServingError("invalidRequest", (error as Error).message, { cause: error });
    }
  };
  const end = config.eosTokenIds.at(0);
  return {
    plain: breaker([...control.values()]),
    count: (prompt) => ids(prompt).length,
    encode: ids,
    textOf: (tokens) => decode(tokens),
    shownOf: (tokens) => decode(tokens, { keepSpecial: true }),
    ...(end !== undefined && { end }),
  };
}

/** For a model whose files are elsewhere: everything that looks like a control token of some model is broken. */
export function unseenModelText(): ModelText {
  const plain = (text: string) =>
    withoutJoiners(text).replace(/<(?=[|/\w｜])|\[(?=\/?[A-Z_]+\])/g, (mark) => mark + WORD_JOINER);
  return {
    plain,
    count: (prompt) => {
      if ("tokens" in prompt) return prompt.tokens.length;
      const text = "text" in prompt ? prompt.text : JSON.stringify(prompt);
      return Math.ceil(Buffer.byteLength(text) / BYTES_PER_TOKEN);
    },
  };
}

function breaker(marks: readonly string[]): (text: string) => string {
  if (marks.length === 0) return withoutJoiners;
  // The longest first, and again until nothing is left: breaking one may bare another inside it.
  const sorted = [...marks].sort((a, b) => b.length - a.length);
  const pattern = new RegExp(sorted.map((mark) => mark.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&")).join("|"), "g");
  return (given) => {
    let text = withoutJoiners(given);
    for (;;) {
      const broken = text.replace(pattern, (mark) => {
        const [first] = mark;
        return first + WORD_JOINER + mark.slice(first.length);
      });
      if (broken === text) return text;
      text = broken;
    }
  };
}

/** Whether an answer is the end of the text and nothing before it: no token of it was given to anybody. */
export function isSilence(tokens: readonly number[], { end }: ModelText): boolean {
  return tokens.length === 1 && tokens[0] === end;
}

/** Every text inside a JSON value in its plain form: arguments and descriptions of tools reach the template as well. */
export function plainDeep(value: unknown, { plain }: ModelText): unknown {
  if (typeof value === "string") return plain(value);
  if (Array.isArray(value)) return value.map((entry) => plainDeep(entry, { plain } as ModelText));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, entry]) => [plain(key), plainDeep(entry, { plain } as ModelText)]),
  );
}
