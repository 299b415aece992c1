import { forEachWord, wordsOf } from "../../retrieval/words.ts";
import type { Effect } from "../shares.ts";
import type { Occurrence, VerbatimCorpus } from "./verbatim-corpus.ts";
import { wordHash } from "./word-hash.ts";

/** Words that a span has at least, and what it must weigh: less is chance. */
const LEAST_WORDS = 4;
const LEAST_WEIGHT = 12_000_000;
/** What one word weighs at most, however rare: 8 nats is one word in 3,000. */
const WORD_CAP = 8_000_000;
/** Contributions of one DataNet that are listed for a span. */
const LISTED = 5;
/** Words of an answer or a question that are looked at. */
const MOST_WORDS = 16_384;

/** A run of words of the answer that stands in a DataNet, as long as it can be. */
export interface VerbatimSpan {
  /** UTF-16 units of the answer, `end` exclusive. */
  readonly start: number;
  readonly end: number;
  readonly words: number;
  /**
   * Rarity of those of its words that no longer span has and that do not repeat the question, in millionths of a nat:
   * the sum of -ln(frequency), each at most 8 nats.
   */
  readonly weight: number;
  /** Where it stands, first registered first; at most five contributions of each DataNet. The first one earns. */
  readonly occurrences: readonly Occurrence[];
}

/**
 * The maximal runs of words that an answer shares with the corpora (as infini-gram and OLMoTrace find them: Liu et al.
 * 2024, 2025), in the answer's order. Every word counts once, for its longest run; what the question already said does
 * not count; runs of fewer than four words or of common words only are left out.
 */
export function findVerbatimSpans(
  corpora: readonly VerbatimCorpus[],
  question: string,
  answer: string,
): VerbatimSpan[] {
  const words: string[] = [];
  const places: [number, number][] = [];
  forEachWord(answer, (word, start, end) => {
    places.push([start, end]);
    return words.push(word) < MOST_WORDS;
  });
  const hashes = Uint32Array.from(words, wordHash);
  const runs = maximalRuns(corpora, hashes);
  const weights = wordWeights(corpora, hashes, repeatedWords(words, wordsOf(question, MOST_WORDS)));
  const owner = longestRunOfEachWord(runs, words.length);

  const spans: VerbatimSpan[] = [];
  runs.forEach(({ from, length }, run) => {
    let weight = 0;
    for (let i = from; i < from + length; i++) if (owner[i] === run) weight += weights[i];
    if (weight < LEAST_WEIGHT) return;
    const occurrences = corpora
      .flatMap((corpus) => corpus.occurrences(words, hashes, from, length, LISTED))
      .sort((a, b) => a.contribution - b.contribution);
    if (occurrences.length === 0) return;
    spans.push({ start: places[from][0], end: places[from + length - 1][1], words: length, weight, occurrences });
  });
  return spans;
}

/**
 * What the spans earn: each its weight for the first registered contribution that has it.
 *
 * @param via What lets a DataNet earn; undefined for one that does not feed this pool.
 */
export function verbatimEffects(
  spans: readonly VerbatimSpan[],
  via: (dataNet: number) => number | undefined,
): Effect[] {
  const effects: Effect[] = [];
  for (const { weight, occurrences } of spans) {
    const first = occurrences.find(({ dataNet }) => via(dataNet) !== undefined);
    if (first) effects.push({ id: first.contribution, via: via(first.dataNet)!, effect: weight });
  }
  return effects;
}

interface Run {
  readonly from: number;
  readonly length: number;
}

function maximalRuns(corpora: readonly VerbatimCorpus[], hashes: Uint32Array): Run[] {
  const runs: Run[] = [];
  let covered = 0;
  for (let from = 0; from < hashes.length; from++) {
    const length = corpora.reduce((longest, corpus) => Math.max(longest, corpus.longestMatch(hashes, from)), 0);
    if (from + length <= covered) continue;
    covered = from + length;
    if (length >= LEAST_WORDS) runs.push({ from, length });
  }
  return runs;
}

/** -ln of each word's frequency in all corpora, capped; 0 for words that are not to count. */
function wordWeights(corpora: readonly VerbatimCorpus[], hashes: Uint32Array, ignored: Uint8Array): number[] {
  const total = corpora.reduce((sum, corpus) => sum + corpus.words, 0);
  const known = new Map<number, number>();
  return Array.from(hashes, (hash, i) => {
    if (ignored[i]) return 0;
    let weight = known.get(hash);
    if (weight === undefined) {
      const count = corpora.reduce((sum, corpus) => sum + corpus.count(hashes, i, 1), 0);
      weight = count === 0 ? 0 : Math.min(WORD_CAP, Math.round(Math.log(total / count) * 1e6));
      known.set(hash, weight);
    }
    return weight;
  });
}

/** Marks the words of the answer that repeat four or more words in a row of the question. */
function repeatedWords(answer: readonly string[], question: readonly string[]): Uint8Array {
  const run = (words: readonly string[], at: number) => words.slice(at, at + LEAST_WORDS).join(" ");
  const asked = new Set<string>();
  for (let i = 0; i + LEAST_WORDS <= question.length; i++) asked.add(run(question, i));
  const marks = new Uint8Array(answer.length);
  for (let i = 0; i + LEAST_WORDS <= answer.length; i++) {
    if (asked.has(run(answer, i))) marks.fill(1, i, i + LEAST_WORDS);
  }
  return marks;
}

/** For each word the longest run that holds it, the earlier one of equals; -1 for none. */
function longestRunOfEachWord(runs: readonly Run[], words: number): Int32Array {
  const owner = new Int32Array(words).fill(-1);
  runs.forEach(({ from, length }, run) => {
    for (let i = from; i < from + length; i++) {
      if (owner[i] < 0 || length > runs[owner[i]].length) owner[i] = run;
    }
  });
  return owner;
}
