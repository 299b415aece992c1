import { NAME_HEADS, NAME_TAILS } from "./lexicon.ts";

/** Marks of the chat template; `<|end|>` closes every message and is the end-of-text token. */
export const SPECIAL_TOKENS = ["<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"] as const;
export const PAD_ID = 0;
export const END_ID = 1;

/** Jinja chat template: each message is its role's mark, the text, and `<|end|>`. */
export const CHAT_TEMPLATE =
  "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endfor %}" +
  "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}";

/** Text to visible characters, one per byte, as GPT-2's byte-level tokenizers have it. */
const BYTE_TO_CHARACTER = byteAlphabet();

function byteAlphabet(): string[] {
  const printable = (byte: number): boolean =>
    (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || (byte >= 174 && byte <= 255);
  let extra = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(printable(byte) ? byte : extra++));
}

const visible = (text: string): string => [...new TextEncoder().encode(text)].map((b) => BYTE_TO_CHARACTER[b]).join("");

/** The splitting of byte-level tokenizers, digits one by one first. */
const PIECES = /\d|'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu;

/**
 * Makes a `tokenizer.json`: byte-level BPE in which every word of `texts` is one token, a name is its two parts, a
 * digit is itself, and anything else falls apart into bytes, so that no text is unknown.
 *
 * Words are whole by `ignore_merges` (as in Llama 3); the merges are those that names need.
 */
export function makeTokenizer(texts: Iterable<string>): Record<string, unknown> {
  const counts = new Map<string, number>();
  const name = new RegExp(`^ (${NAME_HEADS.join("|")})(${NAME_TAILS.join("|")})$`);
  for (const text of texts) {
    for (const piece of text.match(PIECES) ?? []) {
      if (!name.test(piece)) counts.set(piece, (counts.get(piece) ?? 0) + 1);
    }
  }
  const words = [...counts].sort(([a, n], [b, m]) => m - n || (a < b ? -1 : 1)).map(([word]) => visible(word));
  const merges = nameMerges();
  const tokens = new Set([...SPECIAL_TOKENS, ...BYTE_TO_CHARACTER, ...words, ...merges.map(([a, b]) => a + b)]);
  const vocab = Object.fromEntries([...tokens].map((token, id) => [token, id]));
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: SPECIAL_TOKENS.map((content, id) => ({
      id,
      content,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: true,
    })),
    normalizer: null,
    pre_tokenizer: {
      type: "Sequence",
      pretokenizers: [
        { type: "Digits", individual_digits: true },
        { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
      ],
    },
    post_processor: null,
    decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: true,
      vocab,
      merges,
    },
  };
}

/** Pairs that build " Vel" and "mor" letter by letter; no pair crosses from a head into a tail. */
function nameMerges(): [string, string][] {
  const merges = new Map<string, [string, string]>();
  const chain = (word: string): void => {
    for (let i = 1; i < word.length; i++) merges.set(word.slice(0, i + 1), [word.slice(0, i), word[i]]);
  };
  for (const head of NAME_HEADS) chain(visible(` ${head}`));
  for (const tail of NAME_TAILS) chain(tail);
  return [...merges.values()];
}

/** The `tokenizer_config.json` beside it. */
export function tokenizerConfig(maxLength: number): Record<string, unknown> {
  return {
    tokenizer_class: "PreTrainedTokenizerFast",
    model_max_length: maxLength,
    clean_up_tokenization_spaces: false,
    pad_token: "<|pad|>",
    eos_token: "<|end|>",
    additional_special_tokens: SPECIAL_TOKENS.slice(2),
    chat_template: CHAT_TEMPLATE,
  };
}
