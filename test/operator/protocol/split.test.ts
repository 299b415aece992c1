import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import type { Composition, EmptyPool, Split } from "../../../operator/protocol/composition.ts";
import { type Payout, type Pools, splitPrice } from "../../../operator/protocol/split.ts";

const AGENT = 50;
const NO_POOLS: Pools = { context: [], training: [], tool: [] };

function compositionOf(split: Partial<Split>, more: Partial<Composition> = {}): Composition {
  return {
    baseModel: new Uint8Array(32),
    pricePerJob: 0n,
    pricePerPromptToken: 0n,
    pricePerCompletionToken: 0n,
    split: { operator: 0, publisher: 0, adapters: 0, prompt: 0, context: 0, training: 0, tool: 0, ...split },
    emptyContext: 0,
    emptyTraining: 0,
    emptyTool: 0,
    contextMeasure: 0,
    trainingMeasure: 0,
    prompt: { id: 30, version: 1 },
    adapters: [
      { id: 20, version: 1, share: 333_333, scale: 1 },
      { id: 10, version: 1, share: 666_667, scale: 1 },
    ],
    dataNets: [],
    tools: [],
    ...more,
  };
}

const amountOf = (payout: Payout, id: number) => payout.credits.find((credit) => credit.id === id)?.amount ?? 0n;
const paid = ({ treasury, operator, credits }: Payout) =>
  credits.reduce((sum, { amount }) => sum + amount, treasury + operator);
const entries = (...parts: [id: number, ppm: number][]) => parts.map(([id, ppm]) => ({ id, ppm, via: 0 }));

const partsOf = (count: number) =>
  fc
    .array(fc.integer({ min: 0, max: 1_000_000 }), { minLength: count - 1, maxLength: count - 1 })
    .map((cuts) => [...cuts.sort((a, b) => a - b), 1_000_000].map((end, i, all) => end - (i === 0 ? 0 : all[i - 1])));
const pool = (first: number, most: number) =>
  fc
    .integer({ min: 0, max: most })
    .chain((count): fc.Arbitrary<number[]> => (count === 0 ? fc.constant([]) : partsOf(count)))
    .map((parts) => parts.map((ppm, i) => ({ id: first + i, ppm, via: 0 })));
const where = fc.constantFrom<EmptyPool>(0, 1, 2, 3);
const composition = fc.tuple(partsOf(7), where, where, where, partsOf(2)).map(([w, a, b, c, shares]) =>
  compositionOf(
    { operator: w[0], publisher: w[1], adapters: w[2], prompt: w[3], context: w[4], training: w[5], tool: w[6] },
    {
      emptyContext: a,
      emptyTraining: b,
      emptyTool: c,
      adapters: shares.map((share, i) => ({ id: 10 + i, version: 1, share, scale: 1 })),
    },
  ),
);
const pools = fc.record({ context: pool(100, 12), training: pool(105, 12), tool: pool(200, 4) });
const price = fc.oneof(fc.bigInt({ min: 0n, max: 50n }), fc.bigInt({ min: 0n, max: 2n ** 96n - 1n }));
const share = fc.integer({ min: 0, max: 50_000 });

describe("a split", () => {
  it("is that of an example by hand", () => {
    const terms = compositionOf({
      operator: 300_000,
      publisher: 100_000,
      adapters: 200_000,
      prompt: 100_000,
      context: 300_000,
    });
    const payout = splitPrice(1_001n, 20_000, AGENT, terms, {
      ...NO_POOLS,
      context: entries([100, 500_001], [101, 499_999]),
    });
    // Treasury 20, rest 981, operator 294, others 687 by weights 1, 2, 1, 3 of 7: 98, 294, 392, 687 cumulated.
    assert.equal(payout.treasury, 20n);
    assert.equal(payout.operator, 294n);
    assert.deepEqual(
      payout.credits,
      [
        { id: 10, amount: 196n - 65n },
        { id: 20, amount: 65n },
        { id: 30, amount: 98n },
        { id: AGENT, amount: 98n },
        { id: 100, amount: 147n },
        { id: 101, amount: 148n },
      ].sort((a, b) => a.id - b.id),
    );
  });

  it("adds up to the price, ascends by id and credits nobody with nothing", () => {
    fc.assert(
      fc.property(price, share, composition, pools, (amount, protocolShare, terms, measured) => {
        const payout = splitPrice(amount, protocolShare, AGENT, terms, measured);
        assert.equal(paid(payout), amount);
        payout.credits.forEach(({ id, amount: credited }, i) => {
          assert.ok(credited > 0n);
          assert.ok(i === 0 || id > payout.credits[i - 1].id);
        });
      }),
      { numRuns: 500 },
    );
  });

  it("gives treasury and operator the same whatever the pools say: measuring less earns the operator nothing", () => {
    fc.assert(
      fc.property(price, share, composition, pools, (amount, protocolShare, terms, measured) => {
        const full = splitPrice(amount, protocolShare, AGENT, terms, measured);
        const none = splitPrice(amount, protocolShare, AGENT, terms, NO_POOLS);
        assert.equal(full.operator, none.operator);
        assert.equal(full.treasury, none.treasury);
      }),
    );
  });

  it("never strays more than a wei from the exact share of a class", () => {
    fc.assert(
      fc.property(price, composition, (amount, terms) => {
        const tools = entries([200, 1_000_000]);
        const measured = { context: entries([100, 1_000_000]), training: entries([150, 1_000_000]), tool: tools };
        const payout = splitPrice(amount, 0, AGENT, terms, measured);
        const others = amount - payout.operator;
        const weight = BigInt(1_000_000 - terms.split.operator);
        if (weight === 0n) return;
        const exact = (part: number) => (others * BigInt(part)) / weight;
        for (const [id, part] of [
          [AGENT, terms.split.publisher],
          [30, terms.split.prompt],
          [100, terms.split.context],
          [150, terms.split.training],
          [200, terms.split.tool],
        ]) {
          const difference = amountOf(payout, id) - exact(part);
          assert.ok(difference >= 0n && difference <= 1n, `${id} is off by ${difference}`);
        }
      }),
    );
  });

  it("adds what one id earns in several ways", () => {
    const terms = compositionOf({ publisher: 500_000, context: 500_000 });
    const payout = splitPrice(100n, 0, AGENT, terms, { ...NO_POOLS, context: entries([AGENT, 1_000_000]) });
    assert.deepEqual(payout.credits, [{ id: AGENT, amount: 100n }]);
  });

  const weights = { operator: 200_000, publisher: 100_000, adapters: 300_000, context: 400_000 };
  for (const [name, emptyContext, expected] of [
    ["spread over the other classes when told so", 0, { publisher: 200n, adapters: 600n }],
    ["given to the publisher when told so", 1, { publisher: 500n, adapters: 300n }],
    ["given to the adapters when told so", 2, { publisher: 100n, adapters: 700n }],
    [
      "spread over the other classes when told to give it to a class without a share",
      3,
      { publisher: 200n, adapters: 600n },
    ],
  ] as const) {
    it(`of an empty pool is ${name}`, () => {
      const payout = splitPrice(1_000n, 0, AGENT, compositionOf(weights, { emptyContext }), NO_POOLS);
      assert.equal(payout.operator, 200n);
      assert.equal(amountOf(payout, AGENT), expected.publisher);
      assert.equal(amountOf(payout, 10) + amountOf(payout, 20), expected.adapters);
    });
  }

  it("goes to the publisher when every pool with a share is empty", () => {
    const payout = splitPrice(1_000n, 0, AGENT, compositionOf({ operator: 100_000, context: 900_000 }), NO_POOLS);
    assert.deepEqual(payout, { treasury: 0n, operator: 100n, credits: [{ id: AGENT, amount: 900n }] });
  });

  it("pays nothing to entries of a pool without a share", () => {
    const payout = splitPrice(1_000n, 0, AGENT, compositionOf({ publisher: 1_000_000 }), {
      ...NO_POOLS,
      context: entries([100, 1_000_000]),
    });
    assert.deepEqual(payout.credits, [{ id: AGENT, amount: 1_000n }]);
  });

  it("does not let a class farm dust by payments of one wei", () => {
    // Two equal classes: single wei all go to the one whose cumulative sum reaches the whole.
    const terms = compositionOf({ publisher: 500_000, prompt: 500_000 });
    for (let wei = 1n; wei < 50n; wei++) {
      const payout = splitPrice(wei, 0, AGENT, terms, NO_POOLS);
      assert.equal(amountOf(payout, AGENT), wei / 2n);
      assert.equal(paid(payout), wei);
    }
  });
});
