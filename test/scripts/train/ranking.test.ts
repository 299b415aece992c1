import assert from "node:assert/strict";
import { it } from "node:test";
import { bm25, spearman } from "../../../scripts/train/ranking.ts";

it("spearman sees order only, shares ranks among equals and is 0 for a constant", () => {
  assert.equal(spearman([1, 2, 3, 4], [10, 20, 21, 1000]), 1);
  assert.equal(spearman([1, 2, 3], [3, 2, 1]), -1);
  assert.ok(Math.abs(spearman([1, 1, 2], [1, 2, 3]) - Math.sqrt(3) / 2) < 1e-12);
  assert.equal(spearman([1, 2, 3], [5, 5, 5]), 0);
});

it("bm25 puts the document with the rarer shared words first", () => {
  const [a, b, c] = bm25(["the harbour is deep", "the orchard is red", "the the the the"], "the harbour");
  assert.ok(a > b && a > c);
});
