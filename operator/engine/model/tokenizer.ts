import { existsSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { Template } from "@huggingface/jinja";
import { Tokenizer } from "@huggingface/tokenizers";
import { ModelFormatError } from "./format-error.ts";
import { CONFIG_LIMITS, isRecord, type JsonObject, readJsonObject } from "./json-file.ts";

export const TOKENIZER_LIMITS = { maxBytes: 128 << 20, maxDepth: 64 };
export const MAX_TEMPLATE_BYTES = 1 << 20;

/** What a chat template is given. Roles are checked by the template itself. */
export interface TemplateMessage {
  readonly role: string;
  readonly content: string | null;
  readonly [extra: string]: unknown;
}

/** A model's tokenizer with the chat template of its folder. */
export interface ModelTokenizer {
  readonly tokenizer: Tokenizer;
  /** Whether the folder has a chat template. */
  readonly hasTemplate: boolean;
  /** Ids of special tokens (end of turn, padding), which never stand in an answer's text. */
  readonly specialIds: ReadonlySet<number>;
  /** Token ids, with the model's own rule for a token at the start unless `special` is false. */
  encode(text: string, options?: { special?: boolean }): number[];
  /** Text of token ids. An unfinished UTF-8 sequence at the end shows as U+FFFD. */
  decode(ids: readonly number[], options?: { keepSpecial?: boolean }): string;
  /**
   * Renders messages to the text that the model was trained on; encode it with `special: false`.
   * @throws ModelFormatError when the folder has no template or the template refuses the messages.
   */
  applyTemplate(messages: readonly TemplateMessage[], options?: { tools?: readonly unknown[] }): string;
}

/** Reads `tokenizer.json`, `tokenizer_config.json` and `chat_template.jinja`. @throws ModelFormatError */
export function readTokenizer(folder: string, vocabSize: number): ModelTokenizer {
  const path = join(folder, "tokenizer.json");
  if (!existsSync(path)) {
    throw new ModelFormatError(path, "is missing: a tokenizer in the tokenizers library's format is needed");
  }
  const json = readJsonObject(path, TOKENIZER_LIMITS);
  const configPath = join(folder, "tokenizer_config.json");
  const config = existsSync(configPath) ? readJsonObject(configPath, { ...CONFIG_LIMITS, maxDepth: 32 }) : undefined;
  const tokenizer = build(path, json, config);
  const template = readTemplate(folder, config);
  const specialIds = new Set<number>();
  for (const [id, token] of tokenizer.get_added_tokens_decoder()) if (token.special) specialIds.add(id);
  return {
    tokenizer,
    hasTemplate: template !== undefined,
    specialIds,
    encode: (text, { special = true } = {}) => {
      const ids = encode(path, tokenizer, text, special);
      // A tokenizer of another model would read past the embedding; a broken one may give no number at all.
      const bad = ids.findIndex((id) => !(Number.isInteger(id) && id >= 0 && id < vocabSize));
      if (bad >= 0) throw new ModelFormatError(path, `gives token ${ids[bad]}; the model has ${vocabSize} tokens`);
      return ids;
    },
    decode: (ids, { keepSpecial = false } = {}) =>
      ids.length === 0
        ? ""
        : tokenizer.decode([...ids], { skip_special_tokens: !keepSpecial, clean_up_tokenization_spaces: false }),
    applyTemplate: (messages, { tools } = {}) => {
      if (!template) throw new ModelFormatError(folder, "has no chat template: send plain text instead of messages");
      try {
        return template.render({
          ...specialTokens(config),
          messages,
          ...(tools === undefined ? {} : { tools }),
          add_generation_prompt: true,
        });
      } catch (error) {
        const reason = error instanceof Error ? error.message : String(error);
        throw new ModelFormatError(folder, `the chat template refused the messages: ${reason}`, error);
      }
    },
  };
}

function encode(path: string, tokenizer: Tokenizer, text: string, special: boolean): number[] {
  try {
    return tokenizer.encode(text, { add_special_tokens: special }).ids;
  } catch (error) {
    throw new ModelFormatError(path, "cannot encode the text", error);
  }
}

function build(path: string, json: JsonObject, config: JsonObject | undefined): Tokenizer {
  for (const member of ["model", "added_tokens"]) if (json.get(member) === undefined) json.fail(member, "is missing");
  try {
    const tokenizer = new Tokenizer(json.members, config?.members ?? {});
    tokenizer.decode(tokenizer.encode("a b").ids);
    return tokenizer;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new ModelFormatError(path, `does not describe a tokenizer that can be used (${reason})`, error);
  }
}

function readTemplate(folder: string, config: JsonObject | undefined): Template | undefined {
  const path = join(folder, "chat_template.jinja");
  let text: unknown;
  if (existsSync(path)) {
    if (statSync(path).size > MAX_TEMPLATE_BYTES) throw new ModelFormatError(path, "is larger than a template may be");
    text = readFileSync(path, "utf8");
  } else text = config?.get("chat_template");
  // Some folders list several named templates.
  if (Array.isArray(text)) {
    text = text.find((entry) => isRecord(entry) && entry.name === "default")?.template;
  }
  if (text === undefined) return undefined;
  if (typeof text !== "string") throw new ModelFormatError(folder, "the chat template is not a text");
  try {
    return new Template(text);
  } catch (error) {
    throw new ModelFormatError(folder, "the chat template cannot be parsed", error);
  }
}

function specialTokens(config: JsonObject | undefined): Record<string, string> {
  const tokens: Record<string, string> = {};
  for (const name of ["bos_token", "eos_token", "pad_token", "unk_token"]) {
    const value = config?.get(name);
    const content = isRecord(value) ? value.content : value;
    if (typeof content === "string") tokens[name] = content;
  }
  return tokens;
}
