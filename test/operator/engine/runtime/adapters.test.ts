import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { readAdapter } from "../../../../operator/engine/model/adapter-folder.ts";
import type { LoadedAdapter } from "../../../../operator/engine/model/lora.ts";
import { writeSafetensors } from "../../../../operator/engine/model/safetensors-writer.ts";
import { referenceLogits, relativeL2 } from "../reference/forward.ts";
import { type RandomModel, randomAdapter, randomModel, temporaryFolder } from "../reference/random-model.ts";
import { feed, quantisedReference, reference, row, runnerOf, sequence, TOLERANCE, tokensOf } from "./feeding.ts";

/** Adapters that differ in all that may differ. */
function variedAdapters(model: RandomModel) {
  return [
    randomAdapter(model, { rank: 8, alpha: 16, seed: 1 }),
    randomAdapter(model, { rank: 2, alpha: 3, targets: ["q_proj", "v_proj"], seed: 2 }),
    randomAdapter(model, { rank: 5, alpha: 7, rslora: true, targets: ["o_proj", "gate_proj", "down_proj"], seed: 3 }),
    randomAdapter(model, {
      rank: 4,
      rankPattern: { q_proj: 6, up_proj: 1 },
      alphaPattern: { up_proj: 4 },
      targets: ["q_proj", "k_proj", "up_proj"],
      seed: 4,
    }),
  ];
}

for (const quantisation of ["f32", "q4"] as const) {
  test(`rows with adapters of mixed ranks, targets and alphas, blends and the base share a batch (${quantisation})`, async () => {
    const model = randomModel();
    const adapters = variedAdapters(model);
    const runner = await runnerOf(model, { quantisation });
    try {
      for (const [slot, { folder }] of adapters.entries()) runner.loadSlot(slot, readAdapter(folder, runner.config));
      const uses = [
        [{ slot: 2, weight: 1 }],
        [],
        [{ slot: 1, weight: 1 }],
        [
          { slot: 0, weight: 0.5 },
          { slot: 3, weight: -1.25 },
        ],
        [{ slot: 3, weight: 1 }],
        [{ slot: 2, weight: 0.3 }],
      ];
      const sequences = uses.map((use, i) => sequence(tokensOf(model, 14 + i, i), i * 10, use));
      const boundaries = sequences.map(({ tokens }, i) => [0, 3 + i, 11, 12, 13, tokens.length]);
      const logits = await feed(runner, sequences, boundaries);
      const truth = quantisation === "f32" ? reference(model) : quantisedReference(model, 4);
      for (const [i, { tokens }] of sequences.entries()) {
        const blend = uses[i].map(({ slot, weight }) => ({ adapter: adapters[slot], weight }));
        const error = relativeL2(logits[i], referenceLogits(truth, tokens, blend));
        assert.ok(error <= TOLERANCE, `sequence ${i}: ${error}`);
      }
    } finally {
      await runner.close();
    }
  });
}

test("in fast mode, rows that use every slot equally need no gathering, in whatever order they come", async () => {
  const model = randomModel();
  const adapters = variedAdapters(model);
  const runner = await runnerOf(model, { exact: false });
  try {
    for (const [slot, { folder }] of adapters.entries()) runner.loadSlot(slot, readAdapter(folder, runner.config));
    // Each slot once, each twice, one slot by all, and a range that does not start at zero.
    for (const slots of [[2, 0, 3, 1], [1, 0, 0, 1], [3, 3, 3], [2, 3], [1], [0, 2], [0, 0, 1]]) {
      const sequences = slots.map((slot, i) => sequence(tokensOf(model, 12, i), i * 8, [{ slot, weight: 1 }]));
      const logits = await feed(
        runner,
        sequences,
        sequences.map(() => [0, 9, 10, 11, 12]),
      );
      for (const [i, { tokens }] of sequences.entries()) {
        const use = [{ adapter: adapters[slots[i]], weight: 1 }];
        const error = relativeL2(logits[i], referenceLogits(reference(model), tokens, use));
        assert.ok(error <= TOLERANCE, `slots ${slots}, sequence ${i}: ${error}`);
      }
    }
  } finally {
    await runner.close();
  }
});

test("an adapter at run time equals the same adapter merged into the weights", async () => {
  const model = randomModel();
  const [adapter] = variedAdapters(model);
  const merged = temporaryFolder();
  writeFileSync(join(merged, "config.json"), JSON.stringify(model.config));
  const tensors = [...model.tensors.values()].map((tensor) => {
    const factors = adapter.modules.get(tensor.name.replace(/\.weight$/, ""));
    if (!factors) return tensor;
    const [rows, columns] = tensor.shape;
    const data = Float32Array.from(tensor.data, (value, at) => {
      let sum = value;
      for (let k = 0; k < factors.rank; k++) {
        const b = factors.b[Math.floor(at / columns) * factors.rank + k];
        sum += factors.scale * b * factors.a[k * columns + (at % columns)];
      }
      return sum;
    });
    assert.equal(data.length, rows * columns);
    return { ...tensor, data };
  });
  writeSafetensors(join(merged, "model.safetensors"), tensors);
  const tokens = tokensOf(model, 20, 3);
  const runner = await runnerOf(model);
  const mergedRunner = await runnerOf({ ...model, folder: merged });
  try {
    runner.loadSlot(1, readAdapter(adapter.folder, runner.config));
    const boundaries = [[0, 12, 19, 20]];
    const [runtime] = await feed(runner, [sequence(tokens, 0, [{ slot: 1, weight: 1 }])], boundaries);
    const [baked] = await feed(mergedRunner, [sequence(tokens, 0)], boundaries);
    const [base] = await feed(runner, [sequence(tokens, 0)], boundaries);
    assert.ok(relativeL2(runtime, baked) <= TOLERANCE);
    assert.ok(relativeL2(runtime, base) > 0.1);
  } finally {
    await runner.close();
    await mergedRunner.close();
  }
});

test("a slot that held a larger adapter leaves nothing behind for a smaller one", async () => {
  const model = randomModel();
  const [large, small] = variedAdapters(model);
  const runner = await runnerOf(model);
  try {
    runner.loadSlot(0, readAdapter(large.folder, runner.config));
    runner.loadSlot(0, readAdapter(small.folder, runner.config));
    const tokens = tokensOf(model, 9, 4);
    const [logits] = await feed(runner, [sequence(tokens, 0, [{ slot: 0, weight: 1 }])], [[0, 8, 9]]);
    const expected = referenceLogits(reference(model), tokens, [{ adapter: small, weight: 1 }]);
    assert.ok(relativeL2(logits, expected) <= TOLERANCE);
  } finally {
    await runner.close();
  }
});

test("a row whose adapter overflows is reported, and no other row changes by a bit", async () => {
  const model = randomModel();
  const runner = await runnerOf(model);
  try {
    const adapters = variedAdapters(model).map(({ folder }) => readAdapter(folder, runner.config));
    const broken: LoadedAdapter = {
      ...adapters[0],
      layers: adapters[0].layers.map((layer) => ({
        ...layer,
        gate_proj: { ...layer.gate_proj!, b: layer.gate_proj!.b.map((value) => value * 1e20) },
        up_proj: { ...layer.up_proj!, b: layer.up_proj!.b.map((value) => value * 1e20) },
      })),
    };
    runner.loadSlot(0, adapters[0]);
    runner.loadSlot(1, adapters[1]);
    const rows = [[], [{ slot: 0, weight: 1 }], [{ slot: 1, weight: 1 }]].map((use, i) =>
      row(sequence(tokensOf(model, 10, i), i * 16, use), 0, 6 + i),
    );
    const healthy = await runner.step(rows);
    const copies = healthy.logits.map((values) => values.slice());
    assert.deepEqual(healthy.finite, [true, true, true]);
    runner.loadSlot(0, broken);
    const mixed = await runner.step(rows);
    assert.deepEqual(mixed.finite, [true, false, true]);
    assert.deepEqual(mixed.logits[0], copies[0]);
    assert.deepEqual(mixed.logits[2], copies[2]);
    // Nothing that is not a number may stay in the cache: a shorter row gets the blocks, and reads them to their end.
    const heir = { tokens: tokensOf(model, 5, 9), blocks: rows[1].blocks };
    const [logits] = await feed(runner, [heir], [[0, 3, 4, 5]]);
    assert.ok(relativeL2(logits, referenceLogits(reference(model), heir.tokens)) <= TOLERANCE);
  } finally {
    await runner.close();
  }
});

test("slots refuse what does not fit them", async () => {
  const model = randomModel();
  const other = randomModel({ hidden_size: 32 });
  const runner = await runnerOf(model, { maxRank: 4 });
  try {
    const wide = readAdapter(randomAdapter(model, { rank: 5 }).folder, runner.config);
    assert.throws(() => runner.loadSlot(0, wide), /rank 5 is larger than a slot's 4/);
    const fits = readAdapter(randomAdapter(model, { rank: 3 }).folder, runner.config);
    assert.throws(() => runner.loadSlot(4, fits), /Slot 4 is not one of 4/);
    const otherRunner = await runnerOf(other);
    const foreign = readAdapter(randomAdapter(other, { rank: 3 }).folder, otherRunner.config);
    await otherRunner.close();
    assert.throws(() => runner.loadSlot(0, foreign), /do not fit this model/);
    runner.loadSlot(0, fits);
    runner.clearSlot(0);
    const step = runner.step([row(sequence(tokensOf(model, 4, 1), 0, [{ slot: 0, weight: 1 }]), 0, 4)]);
    await assert.rejects(step, /slot 0 holds no adapter/);
  } finally {
    await runner.close();
  }
});
