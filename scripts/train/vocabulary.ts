import { Tokenizer } from "@huggingface/tokenizers";
import { vocabularyTexts } from "./corpus.ts";
import { makeTokenizer, tokenizerConfig } from "./tokenizer.ts";

/** Longest sequence of the bundled model, in tokens. */
export const MAX_POSITIONS = 512;

/** The bundled model's tokenizer with the files it is stored in. */
export interface Vocabulary {
  readonly tokenizerJson: Record<string, unknown>;
  readonly tokenizerConfig: Record<string, unknown>;
  readonly size: number;
  /** Id of the token "0"; the other digits follow. */
  readonly digit: number;
  encode(text: string): number[];
}

/** Counts the words of generated text and makes the tokenizer of them. The same seed gives the same tokenizer. */
export function makeVocabulary(seed: number): Vocabulary {
  const tokenizerJson = makeTokenizer(vocabularyTexts(seed));
  const config = tokenizerConfig(MAX_POSITIONS);
  const tokenizer = new Tokenizer(tokenizerJson, config);
  const { vocab } = tokenizerJson.model as { vocab: Record<string, number> };
  return {
    tokenizerJson,
    tokenizerConfig: config,
    size: Object.keys(vocab).length,
    digit: vocab["0"],
    encode: (text) => tokenizer.encode(text, { add_special_tokens: false }).ids,
  };
}
