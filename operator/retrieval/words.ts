/** Longest word that is kept whole, in UTF-16 units; longer ones are cut, so that no text makes an endless term. */
const LONGEST_WORD = 64;

// Scripts written without spaces give one word per character; everything else runs to the next non-letter.
const WORD = new RegExp(
  String.raw`[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}]|[[\p{L}\p{M}\p{N}]--[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}]]{1,${LONGEST_WORD}}`,
  "gv",
);
const PLAIN = /^[a-z0-9]+$/;

/**
 * Calls `visit` for every word of a text with its normal form (lower case, compatibility forms folded) and its place in
 * UTF-16 units. Search, verbatim matches and near-duplicates all see a text through these words, so case, spacing and
 * punctuation never make a difference between two texts.
 *
 * @param visit Returning `false` ends the walk.
 */
export function forEachWord(text: string, visit: (word: string, start: number, end: number) => boolean | undefined) {
  for (const match of text.matchAll(WORD)) {
    const raw = match[0];
    const word = PLAIN.test(raw) ? raw : raw.toLowerCase().normalize("NFKC");
    if (visit(word, match.index, match.index + raw.length) === false) return;
  }
}

/** The words of a text in order, at most `limit` of them. */
export function wordsOf(text: string, limit = Number.POSITIVE_INFINITY): string[] {
  const words: string[] = [];
  if (limit <= 0) return words;
  forEachWord(text, (word) => words.push(word) < limit);
  return words;
}
