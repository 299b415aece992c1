import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { readAdapter } from "../../../../operator/engine/model/adapter-folder.ts";
import { cApiRuntime } from "../../../../operator/engine/runtime/c-api-runtime.ts";
import { createModelRunner } from "../../../../operator/engine/runtime/graph-model-runner.ts";
import { CAN_SHARE_WEIGHTS } from "../../../../operator/engine/runtime/shared-weights.ts";
import { randomAdapter, randomModel, temporaryFolder } from "../reference/random-model.ts";

const mapped = (folder: string) =>
  readFileSync("/proc/self/maps", "utf8")
    .split("\n")
    .filter((line) => line.includes(folder) && line.includes("weights.bin")).length;

for (const quantisation of ["f32", "q8", "q4"] as const) {
  test(`all graphs of a model map its weights once, and the last one lets them go: ${quantisation}`, {
    skip: !CAN_SHARE_WEIGHTS,
  }, async () => {
    const model = randomModel();
    const cache = temporaryFolder();
    const open = () =>
      createModelRunner({
        ...{ model: model.folder, quantisation, exact: false, threads: 1, blocks: 8, blockSize: 8, slots: 1 },
        ...{ maxRank: 4, cache, runtime: cApiRuntime },
      });
    const first = await open();
    const second = await open();
    first.loadSlot(0, readAdapter(randomAdapter(model, { rank: 4 }).folder, first.config));
    const row = (count: number, adapters: { slot: number; weight: number }[]) => ({
      tokens: Int32Array.from({ length: count }, (_, i) => i + 1),
      ...{ past: 0, blocks: Int32Array.of(0), adapters, logitsAt: Int32Array.of(count - 1) },
    });
    for (const adapters of [[], [{ slot: 0, weight: 1 }]]) {
      for (const count of [1, 5]) await first.step([row(count, adapters)]);
    }
    const before = await second.step([row(3, [])]);
    const logits = before.logits[0].slice();
    assert.equal(mapped(cache), 1);
    assert.equal(first.memory.weights, second.memory.weights);
    await first.close();
    assert.equal(mapped(cache), 1);
    assert.deepEqual((await second.step([row(3, [])])).logits[0], logits);
    await second.close();
    assert.equal(mapped(cache), 0);
  });
}
