/**
 * A byte-level BPE tokenizer in Hugging Face form, generated to cover a vocabulary of a given size: the 256 bytes, then
 * pseudo-words built from syllables, each with the merge that makes it. Random token ids decode to readable nonsense.
 */

/** What `tokenizer.json` and a GGUF file need: tokens in id order and merges in rank order. */
interface GeneratedTokenizer {
  tokens: string[];
  merges: [string, string][];
  special: string[];
  chatTemplate: string;
}

const SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];
const CONSONANTS = [..."bcdfghjklmnprstvwz"];
const VOWELS = [..."aeiou"];

const CHAT_TEMPLATE =
  "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}" +
  "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

/** The printable stand-in of each byte in GPT-2's byte-level alphabet (Radford et al. 2019), in byte order. */
function byteAlphabet(): string[] {
  const printable = (byte: number) => (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(printable(byte) ? byte : next++));
}

/** All merges in rank order; both parts of every merge are already tokens when it comes. */
function* pseudoWords(): Generator<[string, string]> {
  const space = "\u0120";
  const syllables = CONSONANTS.flatMap((consonant) => VOWELS.map((vowel) => [consonant, vowel] as const));
  for (const [consonant, vowel] of syllables) yield [consonant, vowel];
  const open = syllables.map(([consonant, vowel]) => consonant + vowel);
  for (const syllable of open) yield [space, syllable];
  for (const syllable of open) for (const other of open) yield [syllable, other];
  for (const syllable of open) for (const other of open) yield [space + syllable, other];
  for (const first of open) for (const second of open) for (const third of open) yield [first + second, third];
}

/**
 * Generates the tokenizer for a vocabulary of `vocabSize` tokens.
 *
 * @throws RangeError when the vocabulary is smaller than the 259 bytes and special tokens or larger than the generator
 */
export function generateTokenizer(vocabSize: number): GeneratedTokenizer {
  const tokens = [...SPECIAL, ...byteAlphabet()];
  if (vocabSize < tokens.length) throw new RangeError(`A vocabulary needs at least ${tokens.length} tokens`);
  const merges: [string, string][] = [];
  for (const pair of pseudoWords()) {
    if (tokens.length >= vocabSize) break;
    tokens.push(pair[0] + pair[1]);
    merges.push(pair);
  }
  if (tokens.length < vocabSize) throw new RangeError(`No more than ${tokens.length} tokens can be generated`);
  return { tokens, merges, special: SPECIAL, chatTemplate: CHAT_TEMPLATE };
}

/** The contents of `tokenizer.json`. */
export function tokenizerJson(tokenizer: GeneratedTokenizer): object {
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: tokenizer.special.map((content, id) => ({
      id,
      content,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: true,
    })),
    normalizer: null,
    pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
    post_processor: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
    decoder: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      vocab: Object.fromEntries(tokenizer.tokens.map((token, id) => [token, id])),
      merges: tokenizer.merges,
    },
  };
}

/** The contents of `tokenizer_config.json`, a ChatML template included. */
export function tokenizerConfigJson(tokenizer: GeneratedTokenizer, maxLength: number): object {
  return {
    tokenizer_class: "GPT2Tokenizer",
    add_prefix_space: false,
    bos_token: null,
    eos_token: "<|im_end|>",
    pad_token: "<|endoftext|>",
    unk_token: null,
    model_max_length: maxLength,
    clean_up_tokenization_spaces: false,
    chat_template: tokenizer.chatTemplate,
  };
}
