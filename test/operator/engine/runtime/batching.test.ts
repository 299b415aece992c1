import assert from "node:assert/strict";
import { test } from "node:test";
import { readAdapter } from "../../../../operator/engine/model/adapter-folder.ts";
import type { StepRow } from "../../../../operator/engine/runtime/model-runner.ts";
import { logSoftmax, referenceLogits, relativeL2 } from "../reference/forward.ts";
import { randomAdapter, randomModel, seededRandom } from "../reference/random-model.ts";
import { feed, reference, row, runnerOf, sequence, splitRows, TOLERANCE, tokensOf } from "./feeding.ts";

for (const quantisation of ["f32", "q4", "q8"] as const) {
  test(`in exact mode a decode step gives the same bits alone and in a batch (${quantisation})`, async () => {
    const model = randomModel();
    const runner = await runnerOf(model, { quantisation });
    try {
      for (let slot = 0; slot < 3; slot++) {
        runner.loadSlot(slot, readAdapter(randomAdapter(model, { seed: slot }).folder, runner.config));
      }
      const sequences = Array.from({ length: 7 }, (_, i) => {
        const use = i % 4 === 3 ? [] : [{ slot: i % 4, weight: 1 }];
        return sequence(tokensOf(model, 20, i), i * 3, use);
      });
      for (const item of sequences) item.blocks = item.blocks.subarray(0, 3);
      for (const [i, item] of sequences.entries()) await runner.step([row(item, 0, 5 + i)]);
      const rows = sequences.map((item, i) => row(item, 5 + i, 6 + i));
      const batched = (await runner.step(rows)).logits.map((values) => values.slice());
      for (const [i, single] of rows.entries()) {
        const alone = await runner.step([single]);
        assert.deepEqual(alone.logits[0], batched[i], `sequence ${i}`);
      }
    } finally {
      await runner.close();
    }
  });
}

test("scattered blocks give the same bits as blocks in order", async () => {
  const model = randomModel();
  const runner = await runnerOf(model);
  try {
    const tokens = tokensOf(model, 30, 6);
    const boundaries = [[0, 13, 29, 30]];
    const [ordered] = await feed(runner, [sequence(tokens, 0)], boundaries);
    const scattered = { tokens, blocks: Int32Array.of(61, 3, 40, 17) };
    const [paged] = await feed(runner, [scattered], boundaries);
    assert.deepEqual(paged, ordered);
  } finally {
    await runner.close();
  }
});

test("chunks of any size agree with the whole prompt", async () => {
  const model = randomModel();
  const runner = await runnerOf(model);
  try {
    const tokens = tokensOf(model, 40, 8);
    const [whole] = await feed(runner, [sequence(tokens, 0)], [[0, 40]]);
    const random = seededRandom(4);
    for (let trial = 0; trial < 5; trial++) {
      const cuts = Array.from({ length: 4 }, () => 1 + Math.floor(random() * 39));
      const boundaries = [0, ...new Set(cuts.sort((a, b) => a - b)), 40];
      const [chunked] = await feed(runner, [sequence(tokens, 20)], [boundaries]);
      assert.ok(relativeL2(chunked, whole) <= TOLERANCE);
    }
  } finally {
    await runner.close();
  }
});

test("sequences that share a prefix's blocks agree with sequences that computed it themselves", async () => {
  const model = randomModel();
  const runner = await runnerOf(model);
  try {
    const prefix = tokensOf(model, 16, 1);
    const tails = [2, 3, 4].map((seed) => tokensOf(model, 9, seed));
    await runner.step([row(sequence(prefix, 0), 0, 16)]);
    const shared = tails.map((tail, i) => ({
      tokens: Int32Array.from([...prefix, ...tail]),
      blocks: Int32Array.of(0, 1, 10 + 2 * i, 11 + 2 * i),
    }));
    const logits = await feed(
      runner,
      shared,
      shared.map(() => [16, 22, 23, 25]),
    );
    for (const [i, { tokens }] of shared.entries()) {
      const expected = referenceLogits(reference(model), tokens).slice(16);
      assert.ok(relativeL2(logits[i], expected) <= TOLERANCE);
    }
  } finally {
    await runner.close();
  }
});

test("a copied block serves as the original did, and changing the copy leaves the original alone", async () => {
  const model = randomModel();
  const runner = await runnerOf(model);
  try {
    const tokens = tokensOf(model, 14, 1);
    const original = sequence(tokens, 0);
    await runner.step([row(original, 0, 12)]);
    runner.copyBlock(1, 30);
    const fork = { tokens: Int32Array.from([...tokens.subarray(0, 12), 5, 6]), blocks: Int32Array.of(0, 30) };
    const [forked] = await feed(runner, [fork], [[12, 13, 14]]);
    const [kept] = await feed(runner, [original], [[12, 13, 14]]);
    const truth = reference(model);
    assert.ok(relativeL2(forked, referenceLogits(truth, fork.tokens).slice(12)) <= TOLERANCE);
    assert.ok(relativeL2(kept, referenceLogits(truth, tokens).slice(12)) <= TOLERANCE);
    assert.throws(() => runner.copyBlock(0, 64), /Block 64 is not one of 64/);
  } finally {
    await runner.close();
  }
});

test("scoring gives the log-probability of each target, in one batch with rows that want logits", async () => {
  const model = randomModel();
  const runner = await runnerOf(model);
  try {
    const contexts = [1, 2, 3].map((seed) => tokensOf(model, 10 + seed, seed));
    const rows: StepRow[] = contexts.map((tokens, i) => {
      const base = row(sequence(tokens, i * 16), 0, tokens.length);
      if (i === 1) return { ...base, logitsAt: Int32Array.of(tokens.length - 1) };
      return { ...base, logitsAt: Int32Array.of(3, 5, 8), targets: Int32Array.of(7, 90, 0) };
    });
    const out = await runner.step(rows);
    for (const [i, tokens] of contexts.entries()) {
      const expected = referenceLogits(reference(model), tokens);
      if (i === 1) {
        assert.ok(relativeL2(splitRows(out.logits[1], 96), [expected[tokens.length - 1]]) <= TOLERANCE);
        assert.equal(out.logprobs[1].length, 0);
        continue;
      }
      const wanted = [logSoftmax(expected[3])[7], logSoftmax(expected[5])[90], logSoftmax(expected[8])[0]];
      assert.equal(out.logits[i].length, 0);
      assert.ok(relativeL2([out.logprobs[i]], [wanted]) <= TOLERANCE);
    }
    const alone = await runner.step([rows[2]]);
    assert.ok(relativeL2([alone.logprobs[0]], [out.logprobs[2]]) <= TOLERANCE);
  } finally {
    await runner.close();
  }
});

test("normalisers make log-probabilities of logits, beside rows that are scored and rows that want neither", async () => {
  const model = randomModel();
  const runner = await runnerOf(model);
  try {
    const contexts = [1, 2, 3].map((seed) => tokensOf(model, 10 + seed, seed));
    const rows: StepRow[] = contexts.map((tokens, i) => {
      const base = { ...row(sequence(tokens, i * 16), 0, tokens.length), logitsAt: Int32Array.of(tokens.length - 1) };
      return [base, { ...base, normalised: true }, { ...base, targets: Int32Array.of(7) }][i];
    });
    const out = await runner.step(rows);
    assert.deepEqual(
      out.normalisers.map(({ length }) => length),
      [0, 1, 0],
    );
    const expected = logSoftmax(referenceLogits(reference(model), contexts[1]).at(-1)!);
    assert.ok(relativeL2([out.logits[1].map((logit) => logit - out.normalisers[1][0])], [expected]) <= TOLERANCE);
  } finally {
    await runner.close();
  }
});

test("a step that makes no sense is refused before it changes anything", async () => {
  const model = randomModel();
  const runner = await runnerOf(model);
  try {
    const good = row(sequence(tokensOf(model, 9, 1), 0), 0, 9);
    const bad: [Partial<StepRow>, RegExp][] = [
      [{ tokens: new Int32Array(0) }, /no tokens/],
      [{ tokens: Int32Array.of(96) }, /outside the vocabulary/],
      [{ past: -1 }, /past -1/],
      [{ past: 250 }, /259 positions are more than 256/],
      [{ blocks: Int32Array.of(0) }, /1 blocks do not hold 9 positions/],
      [{ blocks: Int32Array.of(0, 64) }, /block outside the pool/],
      [{ logitsAt: Int32Array.of(9) }, /logitsAt outside/],
      [{ targets: Int32Array.of(1) }, /differ in length/],
      [{ logitsAt: Int32Array.of(8), targets: Int32Array.of(1), normalised: true }, /at once/],
      [{ adapters: [{ slot: 0, weight: 1 }] }, /slot 0 holds no adapter/],
    ];
    for (const [change, message] of bad) {
      await assert.rejects(runner.step([{ ...good, ...change }]), message);
    }
    await assert.rejects(runner.step([]), /at least one row/);
    await assert.rejects(runner.step([good, good]), /block 0 is written by row 0 too/);
  } finally {
    await runner.close();
  }
});

test("two graphs serve every kind of step where memory is short", async () => {
  const model = randomModel();
  const adapters = [1, 2].map((seed) => randomAdapter(model, { seed }));
  const runner = await runnerOf(model, { graphs: "few" });
  try {
    const before = runner.memory.weights;
    for (const [slot, { folder }] of adapters.entries()) runner.loadSlot(slot, readAdapter(folder, runner.config));
    const blend = [0, 1].map((slot) => ({ slot, weight: 0.5 }));
    for (const uses of [[[]], [[{ slot: 1, weight: 1 }]], [[{ slot: 0, weight: 1 }], blend, []]]) {
      const sequences = uses.map((use, i) => sequence(tokensOf(model, 12, i), i * 8, use));
      const logits = await feed(
        runner,
        sequences,
        sequences.map(() => [0, 10, 11, 12]),
      );
      for (const [i, { tokens }] of sequences.entries()) {
        const use = uses[i].map(({ slot, weight }) => ({ adapter: adapters[slot], weight }));
        assert.ok(relativeL2(logits[i], referenceLogits(reference(model), tokens, use)) <= TOLERANCE);
      }
    }
    assert.equal(runner.memory.weights, 2 * before);
  } finally {
    await runner.close();
  }
});
