/** Stands between documents, and for no word. */
export const SEPARATOR = 0;

/** 32 bits for a word in its normal form, never {@link SEPARATOR}. Words of one hash are told apart by their text. */
export function wordHash(word: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < word.length; i++) hash = Math.imul(hash ^ word.charCodeAt(i), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d);
  return (hash ^ (hash >>> 13)) >>> 0 || 1;
}
