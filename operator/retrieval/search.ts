import type { DataNetIndex, Passage } from "./data-net-index.ts";
import type { EmbeddingFunction } from "./data-net-input.ts";
import { COPIED_PART, containment, shinglesOf } from "./near-duplicates.ts";
import { fuse, type RankedChunk, rankByVectors, rankByWords } from "./rank.ts";
import { unitVector } from "./vectors.ts";
import { wordsOf } from "./words.ts";

/** A passage that a search found. */
interface SearchHit extends Passage {
  /** BM25, or the fused score where vectors take part. Only its order means something. */
  readonly score: number;
  /** Set where an earlier contribution says the same; that one's passage stands before this one. */
  readonly duplicateOf: number | undefined;
}

interface SearchOptions {
  /** Passages at most. Default 8. */
  readonly limit?: number;
  /** Takes part where an index was built with it. */
  readonly embedding?: EmbeddingFunction;
}

/** Words and characters of a query that count: more would only cost time. */
const QUERY_WORDS = 256;
const QUERY_CHARACTERS = 16_384;
/** Chunks that each ranking names before near-duplicates are pooled. */
const CANDIDATES = 50;

/**
 * The passages of several DataNets that fit a query best: BM25, and vectors where an embedding function is given, fused
 * by reciprocal ranks. The same indexes, query and options give the same list.
 *
 * Copies take no places: of passages that say the same only the first registered and the best ranked are listed, the
 * first registered before it. So a copy tuned to the query brings up what it copies, and cannot crowd it out.
 *
 * @throws {Error} When an index was built with another embedding function.
 */
export async function search(
  indexes: readonly DataNetIndex[],
  query: string,
  options: SearchOptions = {},
): Promise<SearchHit[]> {
  const { limit = 8, embedding } = options;
  const shortened = query.slice(0, QUERY_CHARACTERS).toWellFormed();
  let ranking = rankByWords(indexes, wordsOf(shortened, QUERY_WORDS), CANDIDATES);
  if (embedding) {
    for (const index of indexes) {
      if (index.embedding !== undefined && index.embedding !== embedding.name) {
        throw new Error(`DataNet ${index.dataNet} was indexed with ${index.embedding}, not with ${embedding.name}`);
      }
    }
    const [vector] = await embedding.embed([shortened]);
    ranking = fuse([ranking, rankByVectors(indexes, unitVector(vector, embedding), CANDIDATES)]);
  }
  return withoutCopies(indexes, ranking, limit);
}

interface Candidate {
  readonly key: string;
  readonly passage: Passage;
  readonly shingles: Uint32Array;
}

function withoutCopies(indexes: readonly DataNetIndex[], ranking: readonly RankedChunk[], limit: number): SearchHit[] {
  const listed = new Set<string>();
  const hits: SearchHit[] = [];
  const candidates = withOriginals(indexes, ranking);
  for (const { candidate, original, score } of candidates) {
    if (hits.length >= limit) break;
    // The index knows copies within a DataNet version; copies between DataNets are seen among the candidates.
    const first = earliest(original ?? candidate, candidates);
    if (listed.has(first.key)) continue;
    listed.add(first.key);
    hits.push({ ...first.passage, score, duplicateOf: undefined });
    if (first.key === candidate.key || hits.length >= limit) continue;
    hits.push({ ...candidate.passage, score, duplicateOf: first.passage.contribution });
  }
  return hits;
}

interface RankedCandidate {
  readonly candidate: Candidate;
  readonly original: Candidate | undefined;
  readonly score: number;
}

function withOriginals(indexes: readonly DataNetIndex[], ranking: readonly RankedChunk[]): RankedCandidate[] {
  const read = (index: number, chunk: number): Candidate & { original: number | undefined } => {
    const { original, ...passage } = indexes[index].passage(chunk);
    return { key: `${index}/${chunk}`, passage, shingles: shinglesOf(passage.text), original };
  };
  return ranking.map(({ index, chunk, score }) => {
    const candidate = read(index, chunk);
    const original = candidate.original === undefined ? undefined : read(index, candidate.original);
    return { candidate, original, score };
  });
}

/** The first registered among a passage and what the candidates hold of the same content. */
function earliest(own: Candidate, candidates: readonly RankedCandidate[]): Candidate {
  let first = own;
  for (const { candidate, original } of candidates) {
    for (const other of [candidate, original]) {
      if (other === undefined || other.passage.contribution >= first.passage.contribution) continue;
      if (containment(own.shingles, other.shingles) >= COPIED_PART) first = other;
    }
  }
  return first;
}
