import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { planBatches } from "../../../../operator/training/lora/batch-plan.ts";
import { randomRows, TINY } from "../tiny-model.ts";

const ROWS = randomRows(
  TINY,
  1,
  Array.from({ length: 23 }, (_, i) => 3 + ((i * 17) % 60)),
);
const OPTIONS = { rows: ROWS, rowsPerStep: 5, tokensPerBatch: 128, epochs: 3, seed: 4 };

/** Rows of a step, each as its tokens. */
function rowsOf(step: number, options = OPTIONS): string[] {
  return planBatches(options)
    .batches(step)
    .flatMap(({ shape, tokens, weights }) =>
      Array.from({ length: shape.rows }, (_, row) => {
        const part = tokens.subarray(row * shape.length, (row + 1) * shape.length);
        const used = weights.subarray(row * shape.length, (row + 1) * shape.length).findLastIndex((w) => w > 0);
        return [...part.slice(0, used + 2)].join(",");
      }).filter((_, row) => weights.subarray(row * shape.length, (row + 1) * shape.length).some((w) => w > 0)),
    );
}

describe("planBatches", () => {
  it("shows every row once in every epoch, in another order each time", () => {
    const all = ROWS.map(({ tokens }) => [...tokens].join(",")).sort();
    const epochs = [0, 1, 2].map((epoch) => [0, 1, 2, 3, 4].flatMap((step) => rowsOf(epoch * 5 + step)));
    for (const epoch of epochs) assert.deepEqual([...epoch].sort(), all);
    assert.notDeepEqual(epochs[0], epochs[1]);
  });

  it("gives a step the same batches whichever steps were asked for before", () => {
    const plan = planBatches(OPTIONS);
    for (const step of [14, 0, 7]) plan.batches(step);
    assert.deepEqual(plan.batches(9), planBatches(OPTIONS).batches(9));
  });

  it("keeps to the token budget and lets the loss weights of a step add up to one", () => {
    for (let step = 0; step < 15; step++) {
      const batches = planBatches(OPTIONS).batches(step);
      for (const { tokens } of batches) assert.ok(tokens.length <= 128);
      const total = batches.flatMap(({ weights }) => [...weights]).reduce((a, b) => a + b, 0);
      assert.ok(Math.abs(total - 1) < 1e-5);
    }
  });

  it("refuses an empty data set", () => {
    assert.throws(() => planBatches({ ...OPTIONS, rows: [] }), /nothing to train on/);
  });
});
