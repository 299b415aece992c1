import assert from "node:assert/strict";
import { test } from "node:test";
import { readAdapter } from "../../../../operator/engine/model/adapter-folder.ts";
import { LORA_TARGETS, type LoadedAdapter } from "../../../../operator/engine/model/lora.ts";
import { sums8BitProducts } from "../../../../operator/engine/runtime/processor.ts";
import { relativeL2 } from "../reference/forward.ts";
import { randomAdapter, randomModel } from "../reference/random-model.ts";
import { feed, row, runnerOf, sequence, tokensOf } from "./feeding.ts";

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

const isExact = sums8BitProducts();
const skip = isExact ? false : "this processor has neither VNNI nor AMX";

test("8-bit products are refused where their sums are cut off", { skip: isExact && "this processor sums them" }, () =>
  assert.rejects(runnerOf(model, { quantisation: "q4", exact: false, int8: true }), /neither VNNI nor AMX/),
);

for (const quantisation of ["q4", "q8"] as const) {
  test(`steps with 8-bit products stay close to exact ones, alone and in batches, adapters included (${quantisation})`, {
    skip,
  }, async () => {
    for (const rows of [1, 5]) {
      const exact = await logits({ quantisation }, rows);
      const int8 = await logits({ quantisation, exact: false, int8: true }, rows);
      const difference = relativeL2(int8, exact);
      assert.ok(difference > 1e-4 && difference < 0.08, `${rows} rows: ${difference}`);
    }
  });
}

test("whichever matrix of an adapter overflows, its row is reported and no other changes by a bit", {
  skip,
}, async () => {
  const runner = await runnerOf(model, { quantisation: "q4", exact: false, int8: true });
  try {
    const healthy = readAdapter(randomAdapter(model, { targets: [...LORA_TARGETS] }).folder, runner.config);
    const rows = [[], [{ slot: 0, weight: 1 }], [{ slot: 1, weight: 1 }]].map((use, i) =>
      row(sequence(tokensOf(model, 10, i), i * 16, use), 0, 6 + i),
    );
    for (const slot of [0, 1]) runner.loadSlot(slot, healthy);
    const before = await runner.step(rows);
    assert.deepEqual(before.finite, [true, true, true]);
    const copies = before.logits.map((values) => values.slice());
    for (const layer of [0, 1]) {
      for (const target of LORA_TARGETS) {
        const huge = (values: Float32Array) => values.map((value, i) => (i % 3 === 0 ? value * 1e38 : value));
        const layers: LoadedAdapter["layers"] = healthy.layers.map((factors, i) => {
          const { rank, a, b } = factors[target]!;
          return i === layer ? { ...factors, [target]: { rank, a: huge(a), b: huge(b) } } : factors;
        });
        runner.loadSlot(0, { ...healthy, layers });
        const after = await runner.step(rows);
        assert.deepEqual(after.finite, [true, false, true], `layer ${layer}, ${target}`);
        for (const i of [0, 2]) assert.deepEqual(after.logits[i], copies[i], `layer ${layer}, ${target}, row ${i}`);
      }
    }
  } finally {
    await runner.close();
  }
});

test("exact mode and float32 never use 8-bit products", async () => {
  for (const options of [{ quantisation: "q4" }, { quantisation: "f32", exact: false }] as const) {
    assert.deepEqual(await logits({ ...options, int8: true }, 3), await logits({ ...options, int8: false }, 3));
  }
});
