import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  batchTreeDepth,
  buildBatchTree,
  chunkCount,
  chunkLevels,
  proveChunk,
  proveReceipt,
  rootFromSiblings,
} from "../../../operator/protocol/batch-tree.ts";
import { ZERO_HASH } from "../../../operator/protocol/bytes.ts";
import { keccak } from "../../../operator/protocol/keccak.ts";

const leavesOf = (count: number) => Array.from({ length: count }, (_, i) => keccak(Uint8Array.of(i & 255, i >> 8)));

describe("the tree of a batch", () => {
  it("is as deep as its count asks", () => {
    const depths = [1, 2, 3, 4, 5, 31, 32, 33, 16_383, 16_384].map(batchTreeDepth);
    assert.deepEqual(depths, [0, 1, 2, 2, 3, 5, 5, 6, 14, 14]);
  });

  it("has one receipt as its own root", () => {
    const [leaf] = leavesOf(1);
    const tree = buildBatchTree([leaf]);
    assert.equal(tree.root, leaf);
    assert.deepEqual(proveReceipt(tree, 0), []);
  });

  it("proves every receipt and every chunk", () => {
    for (const count of [1, 2, 3, 7, 32, 33, 65, 100]) {
      const leaves = leavesOf(count);
      const tree = buildBatchTree(leaves);
      leaves.forEach((leaf, index) => {
        const proof = proveReceipt(tree, index);
        assert.equal(proof.length, batchTreeDepth(count));
        assert.deepEqual(rootFromSiblings(leaf, index, proof), tree.root);
      });
      const width = 2 ** chunkLevels(count);
      for (let chunk = 0; chunk < chunkCount(count); chunk++) {
        const part = leaves.slice(chunk * width, (chunk + 1) * width);
        while (part.length < width) part.push(ZERO_HASH);
        assert.deepEqual(rootFromSiblings(buildBatchTree(part).root, chunk, proveChunk(tree, chunk)), tree.root);
      }
    }
  });

  it("does not accept a receipt in another's place, nor a node as a leaf", () => {
    const leaves = leavesOf(8);
    const tree = buildBatchTree(leaves);
    assert.notDeepEqual(rootFromSiblings(leaves[2], 3, proveReceipt(tree, 3)), tree.root);
    // The node above two leaves, with a path one shorter: the length, which the count fixes, is what refuses it.
    const proof = proveReceipt(tree, 2).slice(1);
    assert.deepEqual(rootFromSiblings(tree.levels[1][1], 1, proof), tree.root);
    assert.notEqual(proof.length, batchTreeDepth(8));
  });

  it("refuses to prove what is past the count", () => {
    const tree = buildBatchTree(leavesOf(5));
    assert.throws(() => proveReceipt(tree, 5), { name: "MalformedProof" });
    assert.throws(() => proveReceipt(tree, -1), { name: "MalformedProof" });
    assert.throws(() => proveChunk(tree, 1), { name: "MalformedProof" });
  });
});
