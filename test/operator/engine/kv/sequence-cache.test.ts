import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { BlockPool } from "../../../../operator/engine/kv/block-pool.ts";
import { rootKey } from "../../../../operator/engine/kv/prefix-keys.ts";
import { type CacheContext, SequenceCache } from "../../../../operator/engine/kv/sequence-cache.ts";
import { attendsTo, NO_BLOCK, type SparseAttention } from "../../../../operator/engine/model/sparse-attention.ts";

const BLOCK = 16;
const BASE = rootKey([]);

/** A pool whose "keys and values" are the tokens and the adapters that computed them, so that mistakes are visible. */
class Memory {
  readonly pool: BlockPool;
  readonly context: CacheContext;
  readonly cells: string[][];
  copies = 0;

  constructor(blocks: number, sparse?: SparseAttention) {
    this.pool = new BlockPool(blocks);
    this.cells = Array.from({ length: blocks }, () => new Array<string>(BLOCK).fill("?"));
    const copyBlock = (from: number, to: number) => {
      this.copies++;
      this.cells[to] = [...this.cells[from]];
    };
    this.context = { pool: this.pool, blockSize: BLOCK, copyBlock, sparse };
  }

  /** What a step does: writes positions [computed, to) into the sequence's own blocks. */
  compute(cache: SequenceCache, tokens: Int32Array, to: number, root: string): boolean {
    if (!cache.grow(to)) return false;
    for (let at = cache.computed; at < to; at++) {
      this.cells[cache.table[Math.floor(at / BLOCK)]][at % BLOCK] = `${root}${tokens.slice(0, at + 1).join()}`;
    }
    cache.advance(tokens, to);
    return true;
  }

  /** Everything that the next token attends to is there. */
  check(cache: SequenceCache, tokens: Int32Array, root: string): void {
    const { sparse } = this.context;
    const next = Math.floor(cache.computed / BLOCK);
    for (let at = 0; at < cache.computed; at++) {
      if (sparse && !attendsTo(sparse, next, Math.floor(at / BLOCK))) continue;
      const cell = this.cells[cache.table[Math.floor(at / BLOCK)]][at % BLOCK];
      assert.equal(cell, `${root}${tokens.slice(0, at + 1).join()}`, `position ${at}`);
    }
  }
}

const sequence = (length: number, seed = 1) => Int32Array.from({ length }, (_, i) => (i * seed * 7919) % 97);

test("a second sequence with the same beginning shares its whole blocks and copies the part of the next", () => {
  const memory = new Memory(10);
  const first = new SequenceCache(memory.context, BASE);
  const tokens = sequence(40);
  assert.ok(memory.compute(first, tokens, 40, BASE));
  const second = new SequenceCache(memory.context, BASE);
  assert.equal(second.adopt(tokens, 39), 32, "the last, partial block of the first is not published");
  assert.deepEqual([...second.table], [...first.table.subarray(0, 2)]);
  assert.equal(memory.pool.counts.shared, 2);
  const third = new SequenceCache(memory.context, BASE);
  assert.equal(third.adopt(tokens.slice(0, 30), 29), 29);
  assert.equal(memory.copies, 1);
  memory.check(third, tokens, BASE);
});

test("other adapters, or the same with other weights, never share", () => {
  const memory = new Memory(10);
  const content = (weight: number) => rootKey([{ hash: "aa", weight }]);
  const tokens = sequence(40);
  const first = new SequenceCache(memory.context, content(1));
  memory.compute(first, tokens, 40, content(1));
  for (const root of [BASE, content(0.5), rootKey([{ hash: "ab", weight: 1 }])]) {
    assert.equal(new SequenceCache(memory.context, root).adopt(tokens, 39), 0);
  }
  assert.equal(new SequenceCache(memory.context, content(1)).adopt(tokens, 39), 32);
  const blend = [
    { hash: "aa", weight: 1 },
    { hash: "bb", weight: 2 },
  ];
  assert.equal(rootKey(blend), rootKey([...blend].reverse()), "a blend is a sum: its order does not matter");
});

test("released blocks stay findable until their memory is needed, ends going before beginnings", () => {
  const memory = new Memory(4);
  const tokens = sequence(64);
  const first = new SequenceCache(memory.context, BASE);
  memory.compute(first, tokens, 64, BASE);
  first.release();
  assert.deepEqual(memory.pool.counts, { total: 4, free: 0, idle: 4, used: 0, shared: 0, evicted: 0 });
  const other = new SequenceCache(memory.context, BASE);
  memory.compute(other, sequence(20, 3), 20, BASE);
  assert.equal(memory.pool.counts.evicted, 2);
  assert.equal(new SequenceCache(memory.context, BASE).adopt(tokens, 63), 32);
});

test("computing the same twice at once ends in one copy", () => {
  const memory = new Memory(4);
  const tokens = sequence(32);
  const [first, second] = [new SequenceCache(memory.context, BASE), new SequenceCache(memory.context, BASE)];
  memory.compute(first, tokens, 32, BASE);
  memory.compute(second, tokens, 32, BASE);
  assert.deepEqual([...second.table], [...first.table]);
  assert.equal(memory.pool.counts.used, 2);
});

test("a pool with nothing left says so and keeps every sequence whole", () => {
  const memory = new Memory(2);
  const tokens = sequence(40);
  const first = new SequenceCache(memory.context, BASE);
  assert.ok(memory.compute(first, tokens, 20, BASE));
  assert.equal(first.grow(33), false);
  const second = new SequenceCache(memory.context, BASE);
  assert.equal(second.adoptFrom(first, 20), false);
  assert.equal(second.table.length, 0);
  memory.check(first, tokens, BASE);
});

test("under another pattern, or in blocks of another size, never share", () => {
  const sparse = { blockSize: 16, sinkBlocks: 1, localBlocks: 2, stride: 0 };
  const others = [{ blockSize: 32 }, { sinkBlocks: 2 }, { localBlocks: 3 }, { stride: 4 }];
  const keys = [undefined, sparse, ...others.map((other) => ({ ...sparse, ...other }))].map((one) => rootKey([], one));
  assert.equal(new Set(keys).size, keys.length);
});

test("a beginning is found across missing blocks that nobody attends to after it", () => {
  const tokens = sequence(128);
  const found = (missing: readonly number[], whole = false) => {
    const memory = new Memory(8, { blockSize: BLOCK, sinkBlocks: 1, localBlocks: 2, stride: 4 });
    const first = new SequenceCache(memory.context, BASE);
    memory.compute(first, tokens, 128, BASE);
    const table = [...first.table];
    first.release();
    // Taken as others would take them: only what is idle can be lost.
    const held = table.filter((_, i) => !missing.includes(i));
    for (const block of held) memory.pool.hold(block);
    for (const _ of missing) memory.pool.take();
    for (const block of held) memory.pool.release(block);
    const second = new SequenceCache(memory.context, BASE);
    const length = second.adopt(tokens, 127, whole);
    memory.check(second, tokens, BASE);
    return [length / BLOCK, [...second.table].filter((block) => block !== NO_BLOCK).length];
  };
  // 127 positions are seven whole blocks and a part that is copied; block 7 attends to 0, 3, 6 and 7.
  assert.deepEqual(found([]), [127 / BLOCK, 4]);
  assert.deepEqual(found([1, 2, 4]), [127 / BLOCK, 4]);
  assert.deepEqual(found([1, 2], true)[0], 1, "for one that takes over less, nothing may be missing");
  assert.deepEqual(found([3])[0], 3, "block 3 ends a stride: all after it attend to it");
  assert.deepEqual(found([0])[0], 0);
  assert.deepEqual(found([6])[0], 6, "block 6 is local to the next");
  assert.deepEqual(found([4])[0], 127 / BLOCK);
  assert.deepEqual(found([5])[0], 127 / BLOCK);
});

test("blocks that nothing to come attends to are given back, and found again while their memory is not needed", () => {
  const memory = new Memory(8, { blockSize: BLOCK, sinkBlocks: 1, localBlocks: 2, stride: 4 });
  const tokens = sequence(128);
  const first = new SequenceCache(memory.context, BASE);
  memory.compute(first, tokens, 111, BASE);
  assert.equal(first.giveBackUnattended(), 3);
  // Position 111 is in block 6: it attends to 0, to 3, and to 5 and 6.
  assert.deepEqual(
    [...first.table].map((block) => block === NO_BLOCK),
    [false, true, true, false, true, false, false],
  );
  assert.equal(first.giveBackUnattended(), 0);
  assert.deepEqual([memory.pool.counts.used, memory.pool.counts.idle], [4, 3]);
  const second = new SequenceCache(memory.context, BASE);
  assert.equal(second.adopt(tokens, 100), 96, "all six full blocks");
  second.release();
  memory.compute(first, tokens, 112, BASE);
  assert.equal(first.giveBackUnattended(), 1, "block 5 is local no more");
  first.release();
  assert.deepEqual([memory.pool.counts.used, memory.pool.counts.shared], [0, 0]);
});

for (const sparse of [undefined, { blockSize: BLOCK, sinkBlocks: 1, localBlocks: 2, stride: 3 }])
  test(`whatever is computed, adopted, forked and released${sparse ? ", and given back" : ""}, every position holds what its own sequence put there`, () => {
    const operation = fc.record({
      kind: fc.constantFrom("start", "start", "compute", "compute", "fork", "give back", "release"),
      which: fc.nat(20),
      amount: fc.integer({ min: 1, max: 40 }),
      seed: fc.integer({ min: 1, max: 3 }),
    });
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 40 }), (operations) => {
        const memory = new Memory(12, sparse);
        const roots = [BASE, rootKey([{ hash: "aa", weight: 1 }])];
        let live: { cache: SequenceCache; tokens: Int32Array; root: string; whole: boolean }[] = [];
        for (const { kind, which, amount, seed } of operations) {
          const chosen = live[which % Math.max(1, live.length)];
          if (kind === "start") {
            // Three families of sequences that agree up to a point and differ after it.
            const tokens = sequence(100);
            for (let at = seed * 13; at < 100; at++) tokens[at] = (tokens[at] + seed) % 97;
            const root = roots[which % 2];
            const cache = new SequenceCache(memory.context, root);
            cache.adopt(tokens, 99, amount % 2 === 0);
            live.push({ cache, tokens, root, whole: !cache.table.includes(NO_BLOCK) });
          } else if (chosen === undefined) continue;
          else if (kind === "compute") {
            memory.compute(chosen.cache, chosen.tokens, Math.min(100, chosen.cache.computed + amount), chosen.root);
          } else if (kind === "give back") {
            if (chosen.cache.giveBackUnattended() > 0) chosen.whole = false;
          } else if (kind === "fork") {
            if (!chosen.whole) continue;
            const cache = new SequenceCache(memory.context, chosen.root);
            const length = Math.min(amount, chosen.cache.computed);
            const tokens = Int32Array.from(chosen.tokens, (token, at) =>
              at < length ? token : (token + 31 + seed) % 97,
            );
            if (cache.adoptFrom(chosen.cache, length)) live.push({ cache, tokens, root: chosen.root, whole: true });
          } else {
            chosen.cache.release();
            live = live.filter((entry) => entry !== chosen);
          }
          for (const { cache, tokens, root } of live) memory.check(cache, tokens, root);
          const { total, free, idle, used } = memory.pool.counts;
          assert.equal(free + idle + used, total);
          assert.equal(
            used,
            new Set(live.flatMap(({ cache }) => [...cache.table].filter((block) => block !== NO_BLOCK))).size,
            "no block leaks",
          );
        }
        for (const { cache } of live) cache.release();
        assert.equal(memory.pool.counts.used, 0);
        assert.equal(memory.pool.counts.shared, 0);
      }),
      { numRuns: 300 },
    );
  });
