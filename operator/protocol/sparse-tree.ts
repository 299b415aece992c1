import { TREE_DEPTH } from "./bounds.ts";
import { isZero, ZERO_HASH } from "./bytes.ts";
import { MalformedProof } from "./errors.ts";
import { nodeHash } from "./tree-node.ts";

/**
 * A tree of depth 32 over records by id, of which only what is not zero is held.
 *
 * Trees are values: an update makes a new tree that shares all untouched nodes with the old one. The state before a
 * receipt, of a batch that may yet fall, and of the last final batch are all at hand, each for the price of its paths.
 */
export interface SparseTree<T> {
  readonly root: TreeNode<T> | null;
  /** Hash of the record of an id; 32 zeros for a record that is as good as absent. */
  readonly leafHash: (index: number, value: T) => Uint8Array;
}

interface TreeNode<T> {
  readonly hash: Uint8Array;
  readonly left: TreeNode<T> | null;
  readonly right: TreeNode<T> | null;
  /** Held by leaves only. */
  readonly value: T | undefined;
}

/** Siblings for several leaves at once; `bitmap` says which siblings are zero and therefore left out. */
export interface Multiproof {
  siblings: Uint8Array[];
  bitmap: Uint8Array;
}

/** A record with its index. */
export type Indexed<T> = readonly [index: number, value: T];

/** The tree without records. Its root is zero. */
export function emptyTree<T>(leafHash: SparseTree<T>["leafHash"]): SparseTree<T> {
  return { root: null, leafHash };
}

/** The root's hash, 32 bytes; zero for an empty tree. */
export function treeRoot<T>(tree: SparseTree<T>): Uint8Array {
  return tree.root?.hash ?? ZERO_HASH;
}

/** The record at an index, or undefined. */
export function treeGet<T>(tree: SparseTree<T>, index: number): T | undefined {
  let node = tree.root;
  for (let level = TREE_DEPTH - 1; node && level >= 0; level--) node = side(index, level) ? node.right : node.left;
  return node?.value;
}

/** All records, ascending by index. */
export function* treeEntries<T>(tree: SparseTree<T>): Generator<Indexed<T>> {
  yield* walk(tree.root, TREE_DEPTH, 0);
}

/**
 * Sets several records in one pass: nodes above more than one of them are hashed once.
 *
 * @param entries Strictly ascending by index.
 * @throws {MalformedProof} When the entries are not sorted.
 */
export function treeSet<T>(tree: SparseTree<T>, entries: readonly Indexed<T>[]): SparseTree<T> {
  checkAscending(entries.map(([index]) => index));
  if (entries.length === 0) return tree;
  return { root: set(tree, tree.root, TREE_DEPTH, entries, 0, entries.length), leafHash: tree.leafHash };
}

/**
 * Proves the records (or their absence) at several indices against the tree's root.
 *
 * @param indices Strictly ascending.
 * @throws {MalformedProof} When the indices are not sorted.
 */
export function treeProve<T>(tree: SparseTree<T>, indices: readonly number[]): Multiproof {
  checkAscending(indices);
  // Visiting from left to right gives each level's siblings in ascending order.
  const levels: Uint8Array[][] = Array.from({ length: TREE_DEPTH }, () => []);
  if (indices.length > 0) collectSiblings(tree.root, TREE_DEPTH, indices, 0, indices.length, levels);
  const all = levels.flat();
  const bitmap = new Uint8Array(Math.ceil(all.length / 8));
  all.forEach((hash, i) => {
    if (!isZero(hash)) bitmap[i >> 3] |= 1 << (i & 7);
  });
  return { siblings: all.filter((hash) => !isZero(hash)), bitmap };
}

/**
 * The root to which some leaves and their multiproof lead, by the walk that the contracts do. Used with the leaves
 * before and after, it shows an update.
 *
 * @param indices Strictly ascending, at least one.
 * @param leaves Hashes of the records, zero for none.
 * @throws {MalformedProof} When the proof has too few or too many hashes or bits, or a spare bit is set.
 */
export function rootFromMultiproof(
  indices: readonly number[],
  leaves: readonly Uint8Array[],
  proof: Multiproof,
): Uint8Array {
  checkAscending(indices);
  if (indices.length === 0 || indices.length !== leaves.length) throw new MalformedProof("no leaf for each index");
  let [used, bits] = [0, 0];
  const sibling = (): Uint8Array => {
    const byte = proof.bitmap[bits >> 3];
    if (byte === undefined) throw new MalformedProof("the bitmap ends too early");
    if (((byte >> (bits++ & 7)) & 1) === 0) return ZERO_HASH;
    if (used === proof.siblings.length) throw new MalformedProof("the siblings end too early");
    return proof.siblings[used++];
  };
  let nodes = indices.map((index, i) => ({ index, hash: leaves[i] }));
  for (let level = 0; level < TREE_DEPTH; level++) {
    const above: typeof nodes = [];
    for (let i = 0; i < nodes.length; i++) {
      const { index, hash } = nodes[i];
      const parent = Math.floor(index / 2);
      if (index % 2 === 0 && nodes[i + 1]?.index === index + 1) {
        above.push({ index: parent, hash: nodeHash(hash, nodes[++i].hash) });
      } else {
        const other = sibling();
        above.push({ index: parent, hash: index % 2 === 0 ? nodeHash(hash, other) : nodeHash(other, hash) });
      }
    }
    nodes = above;
  }
  if (used !== proof.siblings.length) throw new MalformedProof("siblings are left over");
  if (proof.bitmap.length !== Math.ceil(bits / 8)) throw new MalformedProof("bits are left over");
  if (bits % 8 !== 0 && proof.bitmap[bits >> 3] >> (bits % 8) !== 0) throw new MalformedProof("a spare bit is set");
  return nodes[0].hash;
}

function side(index: number, level: number): number {
  return (index >>> level) & 1;
}

/** First position in [from, to) whose index goes right below a node at `level`. */
function firstOnRight(indexAt: (i: number) => number, level: number, from: number, to: number): number {
  let at = from;
  while (at < to && side(indexAt(at), level - 1) === 0) at++;
  return at;
}

function set<T>(
  tree: SparseTree<T>,
  node: TreeNode<T> | null,
  level: number,
  entries: readonly Indexed<T>[],
  from: number,
  to: number,
): TreeNode<T> | null {
  if (level === 0) {
    const [index, value] = entries[from];
    const hash = tree.leafHash(index, value);
    return isZero(hash) ? null : { hash, left: null, right: null, value };
  }
  const middle = firstOnRight((i) => entries[i][0], level, from, to);
  let left = node?.left ?? null;
  let right = node?.right ?? null;
  if (from < middle) left = set(tree, left, level - 1, entries, from, middle);
  if (middle < to) right = set(tree, right, level - 1, entries, middle, to);
  if (left === null && right === null) return null;
  return { hash: nodeHash(left?.hash ?? ZERO_HASH, right?.hash ?? ZERO_HASH), left, right, value: undefined };
}

function collectSiblings<T>(
  node: TreeNode<T> | null,
  level: number,
  indices: readonly number[],
  from: number,
  to: number,
  levels: Uint8Array[][],
): void {
  if (level === 0) return;
  const middle = firstOnRight((i) => indices[i], level, from, to);
  const left = node?.left ?? null;
  const right = node?.right ?? null;
  if (from < middle) collectSiblings(left, level - 1, indices, from, middle, levels);
  else levels[level - 1].push(left?.hash ?? ZERO_HASH);
  if (middle < to) collectSiblings(right, level - 1, indices, middle, to, levels);
  else levels[level - 1].push(right?.hash ?? ZERO_HASH);
}

function* walk<T>(node: TreeNode<T> | null, level: number, index: number): Generator<Indexed<T>> {
  if (node === null) return;
  if (level === 0) {
    yield [index, node.value as T];
    return;
  }
  yield* walk(node.left, level - 1, index * 2);
  yield* walk(node.right, level - 1, index * 2 + 1);
}

function checkAscending(indices: readonly number[]): void {
  for (let i = 1; i < indices.length; i++) {
    if (indices[i] <= indices[i - 1]) throw new MalformedProof("the indices do not ascend");
  }
}
