import type { DataNetIndex } from "./data-net-index.ts";

/** A chunk in one of several indexes. */
export interface RankedChunk {
  /** Position in the list of indexes. */
  readonly index: number;
  readonly chunk: number;
  readonly score: number;
}

/** BM25's saturation of repeated terms and weight of length (Robertson and Zaragoza 2009, section 3.3). */
const K1 = 1.2;
const B = 0.75;
/** Reciprocal rank fusion's constant (Cormack, Clarke and Büttcher 2009). */
const FUSION = 60;

/**
 * Ranks chunks of all indexes by BM25. Statistics are those of exactly these indexes together, so the ranking depends on
 * the pinned DataNet versions and the query, not on what else a node holds. Equal scores rank by order of indexes, then
 * of registration.
 */
export function rankByWords(indexes: readonly DataNetIndex[], terms: readonly string[], limit: number): RankedChunk[] {
  const chunks = indexes.reduce((sum, index) => sum + index.chunks, 0);
  const average = indexes.reduce((sum, index) => sum + index.totalWords, 0) / Math.max(1, chunks);
  const scores = indexes.map((index) => new Float64Array(index.chunks));
  for (const term of [...new Set(terms)].sort()) {
    const postings = indexes.map((index) => index.postings(term));
    const having = postings.reduce((sum, { chunks }) => sum + chunks.length, 0);
    if (having === 0) continue;
    const rarity = Math.log(1 + (chunks - having + 0.5) / (having + 0.5));
    postings.forEach(({ chunks, counts }, i) => {
      const { lengths } = indexes[i];
      const sums = scores[i];
      for (let at = 0; at < chunks.length; at++) {
        const count = counts[at];
        const length = 1 - B + (B * lengths[chunks[at]]) / average;
        sums[chunks[at]] += (rarity * count * (K1 + 1)) / (count + K1 * length);
      }
    });
  }
  return best(scores, limit, 0);
}

/** Ranks chunks of all indexes by the cosine of their vectors with the query's; indexes without vectors give nothing. */
export function rankByVectors(indexes: readonly DataNetIndex[], query: Float32Array, limit: number): RankedChunk[] {
  const scores = indexes.map((index) => index.vectorScores(query) ?? new Float32Array(0));
  return best(scores, limit, Number.NEGATIVE_INFINITY);
}

/** Fuses rankings by the sum of 1 / (60 + rank). Equal sums rank by order of indexes, then of registration. */
export function fuse(rankings: readonly (readonly RankedChunk[])[]): RankedChunk[] {
  const sums = new Map<string, RankedChunk>();
  for (const ranking of rankings) {
    ranking.forEach(({ index, chunk }, rank) => {
      const key = `${index}/${chunk}`;
      const score = (sums.get(key)?.score ?? 0) + 1 / (FUSION + rank + 1);
      sums.set(key, { index, chunk, score });
    });
  }
  return [...sums.values()].sort(inOrder);
}

function inOrder(a: RankedChunk, b: RankedChunk): number {
  return b.score - a.score || a.index - b.index || a.chunk - b.chunk;
}

/** The `limit` best scores above `floor`, best first, kept in a heap with the worst on top. */
function best(scores: readonly (Float64Array | Float32Array)[], limit: number, floor: number): RankedChunk[] {
  const heap: RankedChunk[] = [];
  const worse = (a: RankedChunk, b: RankedChunk) => inOrder(a, b) > 0;
  scores.forEach((list, index) => {
    for (let chunk = 0; chunk < list.length; chunk++) {
      const score = list[chunk];
      if (!(score > floor)) continue;
      // Chunks come in the order that breaks ties, so an equal score never displaces one that is there.
      if (heap.length >= limit && !(score > heap[0].score)) continue;
      const entry = { index, chunk, score };
      if (heap.length < limit) {
        heap.push(entry);
        let at = heap.length - 1;
        while (at > 0 && worse(entry, heap[(at - 1) >> 1])) {
          heap[at] = heap[(at - 1) >> 1];
          at = (at - 1) >> 1;
        }
        heap[at] = entry;
      } else {
        let at = 0;
        for (;;) {
          let child = 2 * at + 1;
          if (child >= limit) break;
          if (child + 1 < limit && worse(heap[child + 1], heap[child])) child += 1;
          if (!worse(heap[child], entry)) break;
          heap[at] = heap[child];
          at = child;
        }
        heap[at] = entry;
      }
    }
  });
  return heap.sort(inOrder);
}
