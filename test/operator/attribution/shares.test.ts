import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { type Effect, poolEntries } from "../../../operator/attribution/shares.ts";

const effects = (...list: number[]): Effect[] => list.map((effect, i) => ({ id: i + 1, via: 0, effect }));

describe("Shares of a pool", () => {
  test("effects become parts of a million, what is left over goes by largest remainder, then smaller id", () => {
    assert.deepEqual(poolEntries(effects(1, 1, 1), 12), [
      { id: 1, ppm: 333_334, via: 0 },
      { id: 2, ppm: 333_333, via: 0 },
      { id: 3, ppm: 333_333, via: 0 },
    ]);
    assert.deepEqual(
      poolEntries(effects(1, 2, 4), 12).map(({ ppm }) => ppm),
      [142_857, 285_714, 571_429],
    );
  });

  test("only positive effects earn, and a pool that nobody moved is empty", () => {
    assert.deepEqual(poolEntries(effects(-5, 0, 7), 12), [{ id: 3, ppm: 1_000_000, via: 0 }]);
    assert.deepEqual(poolEntries(effects(-1, 0), 12), []);
    assert.deepEqual(poolEntries([], 12), []);
  });

  test("the largest effects stay, equal ones by smaller id", () => {
    assert.deepEqual(
      poolEntries(effects(5, 9, 5, 5), 2).map(({ id }) => id),
      [1, 2],
    );
  });

  test("what is less than one part per million is dropped", () => {
    assert.deepEqual(poolEntries(effects(1_000_000, 1), 12), [{ id: 1, ppm: 1_000_000, via: 0 }]);
    assert.deepEqual(
      poolEntries(effects(999_999, 1), 12).map(({ ppm }) => ppm),
      [999_999, 1],
    );
  });

  test("effects of one id are added under its smallest via", () => {
    const twice = [
      { id: 7, via: 9, effect: 1 },
      { id: 7, via: 2, effect: 2 },
      { id: 8, via: 1, effect: 1 },
    ];
    assert.deepEqual(poolEntries(twice, 12), [
      { id: 7, ppm: 750_000, via: 2 },
      { id: 8, ppm: 250_000, via: 1 },
    ]);
  });

  test("an effect that is no integer is refused", () => {
    assert.throws(() => poolEntries(effects(0.5), 12), RangeError);
    assert.throws(() => poolEntries(effects(Number.NaN), 12), RangeError);
  });

  test("whatever was measured, a pool is what docs/protocol.md section 5 wants, and each is within a part of its due", () => {
    const list = fc.array(
      fc.record({
        id: fc.integer({ min: 1, max: 40 }),
        via: fc.integer({ min: 0, max: 31 }),
        effect: fc.oneof(fc.integer({ min: -5, max: 5 }), fc.maxSafeInteger()),
      }),
      { maxLength: 50 },
    );
    fc.assert(
      fc.property(list, fc.constantFrom(12, 4), (given, limit) => {
        const entries = poolEntries(given, limit);
        assert.deepEqual(poolEntries([...given].reverse(), limit), entries);
        assert.equal(
          entries.length > 0,
          given.some(({ effect }) => effect > 0),
        );
        assert.ok(entries.length <= limit);
        entries.forEach(({ id, ppm }, i) => {
          assert.ok(Number.isInteger(ppm) && ppm >= 1);
          assert.ok(i === 0 || id > entries[i - 1].id);
        });
        if (entries.length > 0)
          assert.equal(
            entries.reduce((sum, { ppm }) => sum + ppm, 0),
            1_000_000,
          );
        const due = (id: number) =>
          given.reduce((sum, entry) => sum + (entry.id === id ? BigInt(Math.max(0, entry.effect)) : 0n), 0n);
        const total = entries.reduce((sum, { id }) => sum + due(id), 0n);
        for (const { id, ppm } of entries) {
          const exact = (due(id) * 1_000_000n) / total;
          assert.ok(BigInt(ppm) === exact || BigInt(ppm) === exact + 1n);
        }
      }),
      { numRuns: 2_000 },
    );
  });
});
