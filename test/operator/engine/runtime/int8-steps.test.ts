import assert from "node:assert/strict";
import { test } from "node:test";
import { readAdapter } from "../../../../operator/engine/model/adapter-folder.ts";
import { relativeL2 } from "../reference/forward.ts";
import { randomAdapter, randomModel } from "../reference/random-model.ts";
import { feed, runnerOf, sequence, tokensOf } from "./feeding.ts";

const model = randomModel();
const folder = randomAdapter(model).folder;

/** Prompts of 20 tokens in two chunks, then ten single tokens; some rows with an adapter. */
async function logits(options: Parameters<typeof runnerOf>[1], rows: number): Promise<Float32Array[]> {
  const runner = await runnerOf(model, options);
  try {
    runner.loadSlot(1, readAdapter(folder, runner.config));
    const use = (i: number) => (i % 2 === 0 ? [{ slot: 1, weight: 1 }] : []);
    const sequences = Array.from({ length: rows }, (_, i) => sequence(tokensOf(model, 30, i), 5 * i, use(i)));
    const steps = [0, 13, 20, ...Array.from({ length: 10 }, (_, i) => 21 + i)];
    return (
      await feed(
        runner,
        sequences,
        sequences.map(() => steps),
      )
    ).flat();
  } finally {
    await runner.close();
  }
}

for (const quantisation of ["q4", "q8"] as const) {
  test(`steps with 8-bit products stay close to exact ones, alone and in batches, adapters included (${quantisation})`, async () => {
    for (const rows of [1, 5]) {
      const exact = await logits({ quantisation }, rows);
      const int8 = await logits({ quantisation, exact: false, int8: true }, rows);
      const difference = relativeL2(int8, exact);
      assert.ok(difference > 1e-4 && difference < 0.08, `${rows} rows: ${difference}`);
    }
  });
}

test("exact mode and float32 never use 8-bit products", async () => {
  for (const options of [{ quantisation: "q4" }, { quantisation: "f32", exact: false }] as const) {
    assert.deepEqual(await logits({ ...options, int8: true }, 3), await logits({ ...options, int8: false }, 3));
  }
});
