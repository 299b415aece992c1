import { CHUNK_LEVELS } from "./bounds.ts";
import { ZERO_HASH } from "./bytes.ts";
import { MalformedProof } from "./errors.ts";
import { nodeHash } from "./tree-node.ts";

/** The tree over a batch's receipts: its levels from the leaves to the root. */
export interface BatchTree {
  readonly count: number;
  readonly levels: readonly (readonly Uint8Array[])[];
  readonly root: Uint8Array;
}

/** Levels between the leaves and the root of a batch: ⌈log2 count⌉. */
export function batchTreeDepth(count: number): number {
  return count <= 1 ? 0 : 32 - Math.clz32(count - 1);
}

/** Levels of the subtree that one demand asks for: five, or all of a smaller batch. */
export function chunkLevels(count: number): number {
  return Math.min(CHUNK_LEVELS, batchTreeDepth(count));
}

/** How many chunks a batch has that hold a receipt. */
export function chunkCount(count: number): number {
  return Math.ceil(count / 2 ** chunkLevels(count));
}

/** Builds the tree over the leaves of a batch (32 bytes each, at least one). Past the count all is zero. */
export function buildBatchTree(leaves: readonly Uint8Array[]): BatchTree {
  const levels: Uint8Array[][] = [[...leaves]];
  for (let level = 0; level < batchTreeDepth(leaves.length); level++) {
    const below = levels[level];
    const nodes: Uint8Array[] = [];
    for (let i = 0; i < below.length; i += 2) nodes.push(nodeHash(below[i], below[i + 1] ?? ZERO_HASH));
    levels.push(nodes);
  }
  return { count: leaves.length, levels, root: levels[levels.length - 1][0] };
}

/** The siblings from a leaf to the root, one for each level. */
export function proveReceipt(tree: BatchTree, index: number): Uint8Array[] {
  return siblings(tree, index, 0);
}

/** The siblings from the root of an aligned chunk to the root of the batch. */
export function proveChunk(tree: BatchTree, chunk: number): Uint8Array[] {
  return siblings(tree, chunk, chunkLevels(tree.count));
}

/** The root that a node at some level and its siblings lead to. */
export function rootFromSiblings(node: Uint8Array, index: number, proof: readonly Uint8Array[]): Uint8Array {
  let hash = node;
  for (let i = 0; i < proof.length; i++) {
    hash = (index >>> i) & 1 ? nodeHash(proof[i], hash) : nodeHash(hash, proof[i]);
  }
  return hash;
}

function siblings(tree: BatchTree, index: number, fromLevel: number): Uint8Array[] {
  if (!(index >= 0 && index < tree.levels[fromLevel].length)) throw new MalformedProof(`no node ${index} in the batch`);
  const proof: Uint8Array[] = [];
  for (let level = fromLevel; level < tree.levels.length - 1; level++) {
    const position = Math.floor(index / 2 ** (level - fromLevel));
    proof.push(tree.levels[level][position ^ 1] ?? ZERO_HASH);
  }
  return proof;
}
