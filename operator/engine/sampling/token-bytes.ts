/** How each token of a vocabulary is written, as bytes. */
export interface TokenBytes {
  /** By token id; special tokens, padding and holes in the vocabulary are empty. */
  readonly bytes: readonly Uint8Array[];
  /** Tokens that stand for words with a space before them: an answer drops its first one. */
  readonly dropFirstSpace: boolean;
}

interface DecoderConfig {
  type: string;
  decoders?: DecoderConfig[];
  pattern?: { String?: string; Regex?: string };
  content?: string;
  prefix?: string;
  replacement?: string;
}

/** The parts of `tokenizer.json` that say how tokens are written. */
interface TokenizerJson {
  readonly decoder?: unknown;
  readonly model?: { readonly type?: string; readonly vocab?: unknown };
  readonly added_tokens?: readonly { readonly id: number; readonly content: string; readonly special?: boolean }[];
}

/**
 * Bytes of every token, from the decoder section of a `tokenizer.json`: byte-level BPE, SentencePiece-style byte
 * fallback with Metaspace, WordPiece, and word-level vocabularies that are joined by spaces.
 *
 * Taking bytes token by token, where a decoder would see the whole text, is what makes streaming exact.
 *
 * @param vocabSize length of the result; logits may be padded beyond the tokenizer's own vocabulary
 */
export function tokenBytes(tokenizer: TokenizerJson, vocabSize: number): TokenBytes {
  const steps = flatten(tokenizer.decoder as DecoderConfig | null | undefined);
  const types = new Set(steps.map((step) => step.type));
  const joinsWords = steps.length === 0 || types.has("WordPiece");
  const write = types.has("ByteLevel") ? byteLevelWriter() : plainWriter(steps, joinsWords);
  const bytes: Uint8Array[] = Array.from({ length: vocabSize }, () => EMPTY);
  const put = (id: number, value: Uint8Array): void => {
    if (Number.isInteger(id) && id >= 0 && id < vocabSize) bytes[id] = value;
  };
  for (const [token, id] of vocabEntries(tokenizer.model?.vocab)) put(id, write(token));
  // Added tokens are literal text, whatever the decoder does to ordinary ones.
  for (const added of tokenizer.added_tokens ?? [])
    put(added.id, added.special ? EMPTY : encoder.encode(added.content));
  return { bytes, dropFirstSpace: joinsWords };
}

const EMPTY = new Uint8Array(0);
const encoder = new TextEncoder();

function flatten(decoder: DecoderConfig | null | undefined): DecoderConfig[] {
  if (decoder == null) return [];
  return decoder.type === "Sequence" ? (decoder.decoders ?? []).flatMap(flatten) : [decoder];
}

/** Unigram vocabularies are lists of [token, score], all others objects from token to id. */
function* vocabEntries(vocab: unknown): Iterable<[string, number]> {
  if (Array.isArray(vocab)) {
    for (const [id, entry] of vocab.entries()) if (Array.isArray(entry)) yield [String(entry[0]), id];
  } else if (vocab !== null && typeof vocab === "object") {
    for (const [token, id] of Object.entries(vocab)) yield [token, Number(id)];
  }
}

function byteLevelWriter(): (token: string) => Uint8Array {
  const toByte = new Map([...byteLevelAlphabet()].map((character, byte) => [character, byte]));
  return (token) => {
    const out: number[] = [];
    for (const character of token) {
      const byte = toByte.get(character);
      if (byte === undefined) out.push(...encoder.encode(character));
      else out.push(byte);
    }
    return Uint8Array.from(out);
  };
}

/**
 * GPT-2's printable stand-ins for the 256 bytes, in byte order: printable Latin-1 stands for itself, the others for
 * U+0100 onwards (Radford et al. 2019).
 */
export function byteLevelAlphabet(): string[] {
  let next = 0x100;
  return Array.from({ length: 256 }, (_, byte) => {
    const printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    return String.fromCodePoint(printable ? byte : next++);
  });
}

function plainWriter(steps: readonly DecoderConfig[], joinsWords: boolean): (token: string) => Uint8Array {
  const byteFallback = steps.some((step) => step.type === "ByteFallback");
  const wordPiece = steps.find((step) => step.type === "WordPiece");
  const prefix = wordPiece?.prefix ?? "##";
  return (token) => {
    const hex = byteFallback ? /^<0x([0-9A-Fa-f]{2})>$/.exec(token) : null;
    if (hex !== null) return Uint8Array.of(Number.parseInt(hex[1], 16));
    if (joinsWords) {
      const goesOn = wordPiece !== undefined && token.startsWith(prefix);
      return encoder.encode(goesOn ? token.slice(prefix.length) : ` ${token}`);
    }
    let text = token;
    for (const step of steps) {
      if (step.type === "Metaspace") text = text.replaceAll(step.replacement ?? "▁", " ");
      if (step.type === "Replace" && step.pattern?.String !== undefined) {
        text = text.replaceAll(step.pattern.String, step.content ?? "");
      }
    }
    return encoder.encode(text);
  };
}
