import assert from "node:assert/strict";
import { test } from "node:test";
import { percentile, takeTurns } from "../../../scripts/bench/timing.ts";

test("a percentile is the smallest sample that the share does not exceed", () => {
  const samples = [5, 1, 4, 2, 3, 10, 9, 8, 7, 6];
  assert.equal(percentile(samples, 0.5), 5);
  assert.equal(percentile(samples, 0.99), 10);
  assert.equal(percentile(samples, 0.1), 1);
  assert.equal(percentile([7], 0.01), 7);
  assert.ok(Number.isNaN(percentile([], 0.5)));
});

test("variants take turns, and only what is to be counted is counted", async () => {
  const calls: string[] = [];
  const timings = await takeTurns(
    { a: () => calls.push("a"), b: async () => calls.push("b") },
    { rounds: 2, iterations: 2, warmUp: 1 },
  );
  assert.equal(calls.join(""), "ab" + "aaabbb" + "aaabbb");
  assert.equal(timings.a.iterations, 4);
  assert.equal(timings.b.iterations, 4);
});
