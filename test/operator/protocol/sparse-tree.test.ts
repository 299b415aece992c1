import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { ZERO_HASH } from "../../../operator/protocol/bytes.ts";
import { keccak } from "../../../operator/protocol/keccak.ts";
import {
  emptyTree,
  rootFromMultiproof,
  treeEntries,
  treeGet,
  treeProve,
  treeRoot,
  treeSet,
} from "../../../operator/protocol/sparse-tree.ts";
import { earnerLeaf } from "../../../operator/protocol/state.ts";

/** The root by its definition: level by level over a map, every node hashed. */
function naiveRoot(records: ReadonlyMap<number, bigint>): Uint8Array {
  let level = new Map<number, Uint8Array>();
  for (const [id, value] of records) if (value > 0n) level.set(id, earnerLeaf(id, value));
  for (let depth = 0; depth < 32; depth++) {
    const above = new Map<number, Uint8Array>();
    for (const index of level.keys()) {
      const parent = Math.floor(index / 2);
      const pair = [2 * parent, 2 * parent + 1].map((child) => level.get(child) ?? ZERO_HASH);
      above.set(parent, keccak(Uint8Array.from([1, ...pair[0], ...pair[1]])));
    }
    level = above;
  }
  return level.get(0) ?? ZERO_HASH;
}

const id = fc.oneof(
  { weight: 4, arbitrary: fc.integer({ min: 0, max: 40 }) },
  { weight: 1, arbitrary: fc.integer({ min: 0, max: 2 ** 32 - 1 }) },
);
const records = fc.dictionary(id.map(String), fc.bigInt({ min: 0n, max: 2n ** 128n - 1n }), { maxKeys: 20 });
const sorted = (entries: Record<string, bigint>) =>
  Object.entries(entries)
    .map(([key, value]) => [Number(key), value] as const)
    .sort(([a], [b]) => a - b);
const empty = emptyTree(earnerLeaf);

describe("a sparse tree", () => {
  it("has the root of its definition, whatever the order of the updates", () => {
    fc.assert(
      fc.property(records, records, (first, second) => {
        const both = treeSet(treeSet(empty, sorted(first)), sorted(second));
        const expected = new Map([...sorted(first), ...sorted(second)]);
        assert.deepEqual(treeRoot(both), naiveRoot(expected));
        let single = empty;
        for (const entry of [...expected].reverse()) single = treeSet(single, [entry]);
        assert.deepEqual(treeRoot(single), treeRoot(both));
        for (const [index, value] of expected) assert.equal(treeGet(both, index) ?? 0n, value);
        const held = [...treeEntries(both)];
        assert.deepEqual(
          held,
          sorted(Object.fromEntries(expected)).filter(([, value]) => value > 0n),
        );
      }),
    );
  });

  it("leaves the tree before an update as it was", () => {
    const before = treeSet(empty, [[1, 5n]]);
    const root = treeRoot(before).slice();
    treeSet(before, [[1, 6n]]);
    assert.deepEqual(treeRoot(before), root);
    assert.equal(treeGet(before, 1), 5n);
  });

  it("is empty again when all records are zero", () => {
    const full = treeSet(empty, [
      [3, 1n],
      [900, 2n],
    ]);
    const cleared = treeSet(full, [
      [3, 0n],
      [900, 0n],
    ]);
    assert.deepEqual(treeRoot(cleared), ZERO_HASH);
    assert.equal(cleared.root, null);
  });

  it("proves several records at once, before and after their update", () => {
    fc.assert(
      fc.property(records, fc.uniqueArray(id, { minLength: 1, maxLength: 12 }), (held, indices) => {
        const tree = treeSet(empty, sorted(held));
        const ids = [...indices].sort((a, b) => a - b);
        const proof = treeProve(tree, ids);
        const before = ids.map((index) => earnerLeaf(index, treeGet(tree, index) ?? 0n));
        assert.deepEqual(rootFromMultiproof(ids, before, proof), treeRoot(tree));
        const after = ids.map((index) => [index, BigInt(index) + 1n] as const);
        const leaves = after.map(([index, value]) => earnerLeaf(index, value));
        assert.deepEqual(rootFromMultiproof(ids, leaves, proof), treeRoot(treeSet(tree, after)));
      }),
    );
  });

  it("refuses indices and updates that do not ascend strictly", () => {
    for (const wrong of [
      [2, 1],
      [1, 1],
    ]) {
      assert.throws(() => treeProve(empty, wrong), { name: "MalformedProof" });
      assert.throws(
        () =>
          treeSet(
            empty,
            wrong.map((index) => [index, 1n] as const),
          ),
        { name: "MalformedProof" },
      );
      assert.throws(
        () => rootFromMultiproof(wrong, [ZERO_HASH, ZERO_HASH], { siblings: [], bitmap: new Uint8Array(8) }),
        {
          name: "MalformedProof",
        },
      );
    }
  });

  it("has proofs of which no part is missing, spare or changed", () => {
    const tree = treeSet(
      empty,
      [1, 2, 5, 9, 200].map((index) => [index, 7n] as const),
    );
    const ids = [2, 9];
    const leaves = ids.map((index) => earnerLeaf(index, 7n));
    const { siblings, bitmap } = treeProve(tree, ids);
    const rootOf = (proof: { siblings: Uint8Array[]; bitmap: Uint8Array }) => rootFromMultiproof(ids, leaves, proof);
    assert.deepEqual(rootOf({ siblings, bitmap }), treeRoot(tree));
    const refused = { name: "MalformedProof" };
    assert.throws(() => rootOf({ siblings: siblings.slice(1), bitmap }), refused);
    assert.throws(() => rootOf({ siblings: [...siblings, ZERO_HASH], bitmap }), refused);
    assert.throws(() => rootOf({ siblings, bitmap: bitmap.slice(1) }), refused);
    assert.throws(() => rootOf({ siblings, bitmap: Uint8Array.from([...bitmap, 0]) }), refused);
    const spare = bitmap.slice();
    spare[spare.length - 1] |= 0x80;
    assert.throws(() => rootOf({ siblings, bitmap: spare }), refused);
    const other = [siblings[0].map((byte) => byte ^ 1), ...siblings.slice(1)];
    assert.notDeepEqual(rootOf({ siblings: other, bitmap }), treeRoot(tree));
  });

  it("proves nothing with nothing", () => {
    assert.deepEqual(treeProve(treeSet(empty, [[1, 1n]]), []), { siblings: [], bitmap: new Uint8Array() });
    assert.throws(() => rootFromMultiproof([], [], { siblings: [], bitmap: new Uint8Array() }), {
      name: "MalformedProof",
    });
  });
});
