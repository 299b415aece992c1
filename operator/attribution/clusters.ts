import { containment, shinglesOf } from "../retrieval/near-duplicates.ts";
import type { Source } from "./traced-prompt.ts";

/** Two contributions of which one says at least this part of what the other says are measured together. */
const SHARED_PART = 0.5;

/**
 * Sources that are left out together, each cluster in order of registration, clusters by their first source.
 *
 * Contributions of one owner are one cluster, so that splitting or copying one's own work changes nothing about the
 * cluster's effect. So are contributions whose texts share most of their shingles: left out one by one, an original and
 * its copy would each seem useless, because the other one still stands.
 */
export function clusterSources(sources: readonly Source[], texts: readonly string[]): number[][] {
  const parent = sources.map((_, i) => i);
  const root = (i: number): number => (parent[i] === i ? i : (parent[i] = root(parent[i])));
  const shingles = texts.map((text, i) => (sources[i].kind === "contribution" ? shinglesOf(text) : new Uint32Array(0)));
  for (let a = 0; a < sources.length; a++) {
    for (let b = 0; b < a; b++) {
      if (sources[a].kind !== "contribution" || sources[b].kind !== "contribution") continue;
      const sameOwner = sources[a].owner !== undefined && sources[a].owner === sources[b].owner;
      if (sameOwner || shareMost(shingles[a], shingles[b]))
        parent[Math.max(root(a), root(b))] = Math.min(root(a), root(b));
    }
  }
  const clusters = new Map<number, number[]>();
  sources.forEach((_, i) => {
    const cluster = clusters.get(root(i));
    if (cluster) cluster.push(i);
    else clusters.set(root(i), [i]);
  });
  for (const cluster of clusters.values()) cluster.sort((a, b) => sources[a].id - sources[b].id);
  return [...clusters.values()];
}

function shareMost(a: Uint32Array, b: Uint32Array): boolean {
  return containment(a, b) >= SHARED_PART || containment(b, a) >= SHARED_PART;
}
