import { forEachWord } from "./words.ts";

/** Words in a row that make one shingle. */
const SHINGLE_WORDS = 3;
const BANDS = 32;
const ROWS = 2;

/** Numbers in a MinHash signature. */
export const SIGNATURE_LENGTH = BANDS * ROWS;

/**
 * The set of a text's shingles (three words in a row), as 32-bit hashes, ascending. A text of fewer words is one
 * shingle. Case, spacing and punctuation do not count.
 */
export function shinglesOf(text: string): Uint32Array {
  const hashes: number[] = [];
  forEachWord(text, (word) => {
    let hash = 0x811c9dc5;
    for (let i = 0; i < word.length; i++) hash = Math.imul(hash ^ word.charCodeAt(i), 0x01000193);
    hashes.push(mix(hash));
    return undefined;
  });
  if (hashes.length === 0) return new Uint32Array(0);
  const shingles = new Set<number>();
  const last = Math.max(0, hashes.length - SHINGLE_WORDS);
  for (let first = 0; first <= last; first++) {
    let shingle = 0;
    for (let i = first; i < Math.min(first + SHINGLE_WORDS, hashes.length); i++) {
      shingle = mix(Math.imul(shingle, 31) + hashes[i]);
    }
    shingles.add(shingle);
  }
  return Uint32Array.from(shingles).sort();
}

/** What part of `text`'s shingles `other` has too: 1 when everything said in `text` stands in `other`. */
export function containment(text: Uint32Array, other: Uint32Array): number {
  if (text.length === 0) return 0;
  let shared = 0;
  for (let i = 0, j = 0; i < text.length && j < other.length; ) {
    if (text[i] === other[j]) {
      shared += 1;
      i += 1;
      j += 1;
    } else if (text[i] < other[j]) i += 1;
    else j += 1;
  }
  return shared / text.length;
}

/**
 * MinHash signature of a set of shingles (Broder 1997): two signatures agree at a place with the probability that is
 * the sets' Jaccard similarity.
 */
export function signatureOf(shingles: Uint32Array): Uint32Array {
  const signature = new Uint32Array(SIGNATURE_LENGTH).fill(0xffffffff);
  for (let row = 0; row < SIGNATURE_LENGTH; row++) {
    const seed = mix(row + 1);
    let least = 0xffffffff;
    for (const shingle of shingles) {
      const hash = mix(shingle ^ seed);
      if (hash < least) least = hash;
    }
    signature[row] = least;
  }
  return signature;
}

/** One text in the search for near-duplicates. Texts come in order of registration. */
interface RegisteredTexts {
  readonly count: number;
  /** Signatures one after another, {@link SIGNATURE_LENGTH} numbers each. */
  readonly signatures: Uint32Array;
  /** Contribution of each text, ascending. */
  readonly contributions: Uint32Array;
  /** Shingles of one text, read when a comparison needs them. */
  shingles(text: number): Uint32Array;
  /** Called between pieces of work, so that others get a turn. */
  pause(): Promise<void>;
}

/** Texts that one search can hold. */
export const MOST_TEXTS = 2 ** 21;

/** A text that says at least this part of what an earlier one says is its near-duplicate. */
export const COPIED_PART = 0.8;
/** How many texts one text is compared with at most, and how many candidates one band may name. */
const MOST_COMPARISONS = 16;
const CANDIDATES_PER_BAND = 4;

/**
 * For every text the first text of an earlier contribution that contains at least 0.8 of its shingles, or -1: the first
 * registered keeps priority. Texts of one contribution are never near-duplicates of each other. Candidates come from
 * locality-sensitive hashing (32 bands of 2 rows: a pair of Jaccard similarity 0.5 is seen with probability 0.9999, of
 * 0.33 with 0.97), and each is checked on the texts themselves. Linear in the number of texts whatever they hold.
 */
export async function findOriginals(texts: RegisteredTexts): Promise<Int32Array> {
  const { count, signatures, contributions } = texts;
  const candidates: number[][] = Array.from({ length: count }, () => []);
  const keys = new Float64Array(count);
  for (let band = 0; band < BANDS; band++) {
    for (let text = 0; text < count; text++) {
      const at = text * SIGNATURE_LENGTH + band * ROWS;
      // Key in the upper bits, text in the lower: sorting numbers groups equal keys in order of registration.
      keys[text] = mix(signatures[at] ^ mix(signatures[at + 1])) * MOST_TEXTS + text;
    }
    keys.sort();
    let first: number[] = [];
    let group = -1;
    for (const key of keys) {
      const text = key % MOST_TEXTS;
      const hash = (key - text) / MOST_TEXTS;
      if (hash !== group) {
        group = hash;
        first = [];
      }
      for (const earlier of first) {
        const seen = candidates[text];
        if (contributions[earlier] === contributions[text]) break;
        if (seen.length < MOST_COMPARISONS && !seen.includes(earlier)) seen.push(earlier);
      }
      if (first.length < CANDIDATES_PER_BAND) first.push(text);
    }
    await texts.pause();
  }

  const originals = new Int32Array(count).fill(-1);
  for (let text = 0; text < count; text++) {
    if (candidates[text].length === 0) continue;
    const shingles = texts.shingles(text);
    for (const earlier of candidates[text].sort((a, b) => a - b)) {
      if (containment(shingles, texts.shingles(earlier)) < COPIED_PART) continue;
      originals[text] = originals[earlier] >= 0 ? originals[earlier] : earlier;
      break;
    }
    await texts.pause();
  }
  return originals;
}

/** The finaliser of MurmurHash3: 32 bits to 32 bits, every bit depending on every other. */
function mix(value: number): number {
  let hash = value | 0;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
