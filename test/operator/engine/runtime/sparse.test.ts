import assert from "node:assert/strict";
import { test } from "node:test";
import { readAdapter } from "../../../../operator/engine/model/adapter-folder.ts";
import { NO_BLOCK, type SparsePattern } from "../../../../operator/engine/model/sparse-attention.ts";
import { blockSparse, referenceLogits, relativeL2, type Sees } from "../reference/forward.ts";
import { type HfConfig, randomAdapter, randomModel } from "../reference/random-model.ts";
import { feed, quantisedReference, reference, row, runnerOf, sequence, TOLERANCE, tokensOf } from "./feeding.ts";

/** Sequences of 100 tokens in blocks of 8: 13 blocks, the last of them in part. */
const LENGTH = 100;
const BLOCK = 8;
const pattern = (sinkBlocks: number, localBlocks: number, stride: number) => ({ sinkBlocks, localBlocks, stride });
const PATTERNS = [pattern(1, 2, 4), pattern(0, 1, 0), pattern(2, 3, 0), pattern(0, 2, 3)];
const seesOf = ({ sinkBlocks, localBlocks, stride }: SparsePattern): Sees =>
  blockSparse(BLOCK, sinkBlocks, localBlocks, stride);
const name = ({ sinkBlocks, localBlocks, stride }: SparsePattern) => `${sinkBlocks},${localBlocks},${stride}`;

const MODELS: Record<string, Partial<HfConfig>> = {
  "llama with grouped heads": {},
  "mistral with a window": { model_type: "mistral", architectures: ["MistralForCausalLM"], sliding_window: 21 },
  "qwen2 with a window in the upper layer": {
    model_type: "qwen2",
    architectures: ["Qwen2ForCausalLM"],
    sliding_window: 30,
    use_sliding_window: true,
    max_window_layers: 1,
  },
};

for (const [kind, overrides] of Object.entries(MODELS)) {
  test(`${kind}: whole, chunked, ragged and token by token, blocks left out agree with a float64 forward`, async () => {
    const model = randomModel(overrides);
    for (const sparse of PATTERNS) {
      const runner = await runnerOf(model, { sparse });
      try {
        const sequences = [1, 2, 3].map((seed) => sequence(tokensOf(model, LENGTH, seed), (seed - 1) * 16));
        const expected = sequences.map(({ tokens }) => referenceLogits(reference(model), tokens, [], seesOf(sparse)));
        const check = (logits: readonly (readonly ArrayLike<number>[])[], what: string) => {
          for (const [i, got] of logits.entries()) {
            const error = relativeL2(got, expected[i]);
            assert.ok(error <= TOLERANCE, `${name(sparse)}, ${what}, sequence ${i}: ${error}`);
          }
        };
        check(await feed(runner, [sequences[0]], [[0, LENGTH]]), "whole");
        check(await feed(runner, [sequences[0]], [[0, 1, 34, 64, 98, 99, 100]]), "alone in chunks");
        const ragged = [
          [0, 40, 64, 65, 99, 100],
          [0, 7, 8, 56, 57, 100],
          [0, 100],
        ];
        check(await feed(runner, sequences, ragged), "ragged");
        const tokenByToken = (from: number) => [
          0,
          from,
          ...Array.from({ length: LENGTH - from }, (_, i) => from + i + 1),
        ];
        check(await feed(runner, sequences, [tokenByToken(60), tokenByToken(61), tokenByToken(75)]), "decode");
      } finally {
        await runner.close();
      }
    }
  });
}

test("what is left out makes a difference, and a pattern that leaves out nothing makes none", async () => {
  const model = randomModel();
  const tokens = tokensOf(model, LENGTH, 1);
  const dense = referenceLogits(reference(model), tokens);
  const sparse = referenceLogits(reference(model), tokens, [], seesOf(PATTERNS[0]));
  assert.ok(relativeL2(sparse, dense) > 0.01);
  const runners = [await runnerOf(model), await runnerOf(model, { sparse: pattern(0, 13, 0) })];
  const given = await Promise.all(
    runners.map((runner) => feed(runner, [sequence(tokens, 0)], [[0, 30, 31, 90, 99, 100]])),
  );
  assert.deepEqual(given[1], given[0]);
  assert.equal(runners[1].blocksAttended.leftOut, 0);
  for (const runner of runners) await runner.close();
});

test("a sequence too short to leave anything out is computed to the bit as without a pattern", async () => {
  const model = randomModel();
  const dense = await runnerOf(model);
  const sparse = await runnerOf(model, { sparse: pattern(1, 4, 0) });
  const short = sequence(tokensOf(model, 40, 4), 0);
  const boundaries = [[0, 25, 26, 39, 40]];
  assert.deepEqual(await feed(sparse, [short], boundaries), await feed(dense, [short], boundaries));
  const [attended] = [sparse, dense].map((runner) => runner.graphSteps.map(({ attention }) => attention).sort());
  assert.ok(attended.includes("flash"), "by the same graphs");
  await dense.close();
  await sparse.close();
});

for (const [quantisation, bits] of [
  ["q4", 4],
  ["q8", 8],
] as const) {
  test(`${quantisation} with adapters leaves blocks out as a float64 forward over the rounded weights does`, async () => {
    const model = randomModel();
    const adapters = [randomAdapter(model, { rank: 4, seed: 21 }), randomAdapter(model, { rank: 8, seed: 22 })];
    const sparse = PATTERNS[0];
    const runner = await runnerOf(model, { quantisation, sparse });
    try {
      for (const [slot, { folder }] of adapters.entries()) runner.loadSlot(slot, readAdapter(folder, runner.config));
      const uses = [[{ slot: 0, weight: 1 }], [{ slot: 1, weight: 1 }], []];
      const sequences = uses.map((used, i) => sequence(tokensOf(model, LENGTH, i + 1), i * 16, used));
      const logits = await feed(runner, sequences, [
        [0, 96, 97, 98, 99, 100],
        [0, 50, 97, 98, 99, 100],
        [0, 33, 66, 98, 99, 100],
      ]);
      for (const [i, { tokens }] of sequences.entries()) {
        const used = uses[i].map(({ slot, weight }) => ({ adapter: adapters[slot], weight }));
        const expected = referenceLogits(quantisedReference(model, bits), tokens, used, seesOf(sparse));
        const error = relativeL2(logits[i], expected);
        assert.ok(error <= TOLERANCE, `sequence ${i}: ${error}`);
      }
    } finally {
      await runner.close();
    }
  });

  test(`${quantisation} in fast mode stays near the exact one with blocks left out`, async () => {
    const model = randomModel();
    const runner = await runnerOf(model, { quantisation, exact: false, sparse: PATTERNS[0] });
    const tokens = tokensOf(model, LENGTH, 9);
    const [logits] = await feed(runner, [sequence(tokens, 0)], [[0, 50, 98, 99, 100]]);
    const expected = referenceLogits(quantisedReference(model, bits), tokens, [], seesOf(PATTERNS[0]));
    const error = relativeL2(logits, expected);
    assert.ok(error > TOLERANCE && error < 0.03, String(error));
    await runner.close();
  });
}

test("with blocks left out a decode step gives the same bits alone and in a batch", async () => {
  const model = randomModel();
  for (const quantisation of ["f32", "q4"] as const) {
    const runner = await runnerOf(model, { quantisation, sparse: PATTERNS[0] });
    const lengths = [100, 9, 73];
    const sequences = lengths.map((length, i) => sequence(tokensOf(model, length, i + 1), i * 16));
    await feed(
      runner,
      sequences,
      lengths.map((length) => [0, length - 1]),
    );
    const rows = sequences.map((one, i) => row(one, lengths[i] - 1, lengths[i]));
    const together = await runner.step(rows);
    const batched = together.logits.map((logits) => logits.slice());
    for (const [i, one] of rows.entries()) assert.deepEqual((await runner.step([one])).logits[0], batched[i]);
    await runner.close();
  }
});

test("a block that nobody attends to any more may be gone and overwritten; one that is needed may not", async () => {
  const model = randomModel();
  const runner = await runnerOf(model, { sparse: PATTERNS[0] });
  const one = sequence(tokensOf(model, LENGTH, 1), 0);
  await feed(runner, [one], [[0, 98]]);
  const before = (await runner.step([row(one, 98, 99)])).logits[0].slice();
  // Position 98 lies in block 12: it attends to 0, to 3, 7 and 11, and to 11 and 12.
  const attended = new Set([0, 3, 7, 11, 12]);
  await feed(runner, [{ ...sequence(tokensOf(model, 16, 2), 0), blocks: Int32Array.of(5, 6) }], [[0, 16]]);
  const blocks = one.blocks.map((block, i) => (i <= 12 && !attended.has(i) ? NO_BLOCK : block));
  const counted = { ...runner.blocksAttended };
  assert.deepEqual((await runner.step([row({ ...one, blocks }, 98, 99)])).logits[0], before);
  assert.equal(runner.blocksAttended.attended - counted.attended, attended.size);
  assert.equal(runner.blocksAttended.leftOut - counted.leftOut, 13 - attended.size);
  for (const gone of attended) {
    const broken = blocks.with(gone, NO_BLOCK);
    const step = runner.step([row({ ...one, blocks: broken }, 98, 99)]);
    await assert.rejects(step, new RegExp(`Row 0: a block outside the pool: -1 at ${gone}\\.`));
  }
  await runner.close();
  const dense = await runnerOf(model);
  await assert.rejects(dense.step([row({ ...one, blocks }, 98, 99)]), /a block outside the pool: -1 at 1\./);
  await dense.close();
});

test("off the processor nothing is left out without a word", async () => {
  await assert.rejects(runnerOf(randomModel(), { sparse: PATTERNS[0], provider: "webgpu" }), /on the processor/);
});
