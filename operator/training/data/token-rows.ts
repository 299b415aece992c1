import type { ModelTokenizer } from "../../engine/model/tokenizer.ts";
import type { TokenRow } from "../batch.ts";
import type { DocumentContent, TrainingDocument } from "./documents.ts";

/** A document as the model reads it. */
export interface TokenisedDocument {
  readonly document: TrainingDocument;
  /** One row per answer or per stretch of text; none if nothing fits. */
  readonly rows: readonly TokenRow[];
  /** Answers that were left out because they are longer than a row. */
  readonly tooLong: number;
}

export interface TokeniseOptions {
  readonly tokenizer: ModelTokenizer;
  /** Token that ends an answer. */
  readonly end: number;
  /** Longest row, in tokens. */
  readonly maxLength: number;
}

/**
 * Turns a document into rows: answers count in the loss, what they answer does not; in plain text every token counts.
 *
 * A prompt is encoded apart from its answer, just as it will be when the model is asked. Longer text is cut into rows;
 * an answer that does not fit with its prompt is left out.
 */
export function tokenise(document: TrainingDocument, options: TokeniseOptions): TokenisedDocument {
  const { maxLength, end } = options;
  if (document.content.kind === "text") {
    const tokens = [...options.tokenizer.encode(document.content.text), end];
    const rows: TokenRow[] = [];
    for (let at = 0; at + 1 < tokens.length; at += maxLength) {
      const part = tokens.slice(at, at + maxLength);
      if (part.length > 1) rows.push({ tokens: Int32Array.from(part), weights: new Float32Array(part.length).fill(1) });
    }
    return { document, rows, tooLong: 0 };
  }
  let tooLong = 0;
  const rows: TokenRow[] = [];
  for (const { prompt, answer } of answersOf(document.content, options)) {
    const tokens = Int32Array.from([...prompt, ...answer]);
    if (tokens.length > maxLength || prompt.length === 0) tooLong++;
    else rows.push({ tokens, weights: new Float32Array(tokens.length).fill(1, prompt.length) });
  }
  return { document, rows, tooLong };
}

interface Answer {
  prompt: number[];
  answer: number[];
}

function answersOf(content: Exclude<DocumentContent, { kind: "text" }>, options: TokeniseOptions): Answer[] {
  const { tokenizer, end } = options;
  const finish = (text: string): number[] => [...tokenizer.encode(text, { special: false }), end];
  if (content.kind === "pair") {
    return [{ prompt: tokenizer.encode(content.prompt), answer: finish(content.completion) }];
  }
  return content.messages.flatMap(({ role, content: text }, i) => {
    if (role !== "assistant") return [];
    const before = tokenizer.applyTemplate(content.messages.slice(0, i));
    return [{ prompt: tokenizer.encode(before, { special: false }), answer: finish(text) }];
  });
}
