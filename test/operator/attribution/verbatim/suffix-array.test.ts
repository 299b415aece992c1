import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { suffixArray } from "../../../../operator/attribution/verbatim/suffix-array.ts";

function bySorting(text: readonly number[]): number[] {
  const suffixes = text.map((_, i) => text.slice(i));
  const compare = (a: readonly number[], b: readonly number[]) => {
    for (let i = 0; i < a.length && i < b.length; i++) if (a[i] !== b[i]) return a[i] - b[i];
    return a.length - b.length;
  };
  return text.map((_, i) => i).sort((a, b) => compare(suffixes[a], suffixes[b]));
}

describe("Suffix array", () => {
  test("it is the order of the suffixes, on any alphabet", () => {
    const text = fc
      .integer({ min: 0, max: 6 })
      .chain((largest) => fc.array(fc.integer({ min: 0, max: largest }), { maxLength: 60 }));
    fc.assert(
      fc.property(text, fc.integer({ min: 0, max: 5 }), (values, spare) => {
        const largest = Math.max(0, ...values) + spare;
        assert.deepEqual([...suffixArray(Int32Array.from(values), largest)], bySorting(values));
      }),
      { numRuns: 3_000 },
    );
  });

  test("repetitions, which sort slowest elsewhere, are right too", () => {
    const same = new Int32Array(50_000);
    assert.deepEqual([...suffixArray(same, 0).subarray(0, 3)], [49_999, 49_998, 49_997]);
    const fibonacci = [[0], [0, 1]];
    while (fibonacci.at(-1)!.length < 600) fibonacci.push([...fibonacci.at(-1)!, ...fibonacci.at(-2)!]);
    const word = fibonacci.at(-1)!;
    assert.deepEqual([...suffixArray(Int32Array.from(word), 1)], bySorting(word));
  });
});
