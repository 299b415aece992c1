import assert from "node:assert/strict";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import { readAdapter } from "../../../../operator/engine/model/adapter-folder.ts";
import { cApiRuntime } from "../../../../operator/engine/runtime/c-api-runtime.ts";
import { nodeRuntime } from "../../../../operator/engine/runtime/node-runtime.ts";
import { preferredRuntime } from "../../../../operator/engine/runtime/preferred-runtime.ts";
import { randomAdapter, randomModel, temporaryFolder } from "../reference/random-model.ts";
import { feed, runnerOf, sequence, tokensOf } from "./feeding.ts";

test("the C API and the Node binding give the same bits", async () => {
  const model = randomModel();
  const adapter = randomAdapter(model);
  const results = [];
  for (const runtime of [cApiRuntime, nodeRuntime]) {
    const runner = await runnerOf(model, { runtime, quantisation: "q4" });
    runner.loadSlot(1, readAdapter(adapter.folder, runner.config));
    const use = [{ slot: 1, weight: 0.5 }];
    const sequences = [sequence(tokensOf(model, 20, 1), 0, use), sequence(tokensOf(model, 20, 2), 16)];
    results.push(
      await feed(runner, sequences, [
        [0, 7, 19, 20],
        [0, 18, 19, 20],
      ]),
    );
    await runner.close();
  }
  assert.deepEqual(results[0], results[1]);
});

test("the C API is what runs where the library loads", () => {
  assert.equal(preferredRuntime(), cApiRuntime);
});

test("a graph that does not load is an error that says why", async () => {
  for (const runtime of [cApiRuntime, nodeRuntime]) {
    const path = `${temporaryFolder()}/missing.onnx`;
    await assert.rejects(async () => runtime.load(path, { threads: 1, provider: "cpu" }), /missing.onnx/);
  }
});

test("a runner works in worker threads that come and go, closed or not", async () => {
  const model = randomModel();
  const code = `
    import { parentPort } from "node:worker_threads";
    import { createModelRunner } from ${JSON.stringify(import.meta.resolve("../../../../operator/engine/runtime/graph-model-runner.ts"))};
    const runner = await createModelRunner(${JSON.stringify({ model: model.folder, quantisation: "q4", exact: false, threads: 2, blocks: 4, blockSize: 8, slots: 1, maxRank: 4, cache: temporaryFolder() })});
    const row = { tokens: Int32Array.of(1, 2, 3), past: 0, blocks: Int32Array.of(0), adapters: [], logitsAt: Int32Array.of(2) };
    const { logits } = await runner.step([row]);
    parentPort.postMessage(logits[0].slice());`;
  const answers: Float32Array[] = [];
  for (const closing of ["await runner.close();", "", "process.exit(0);"]) {
    const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(`${code}\n${closing}`)}`));
    worker.on("message", (logits) => answers.push(logits));
    const exitCode = await new Promise((resolve, reject) => worker.on("exit", resolve).on("error", reject));
    assert.equal(exitCode, 0);
  }
  assert.equal(answers.length, 3);
  assert.deepEqual(answers[1], answers[0]);
  assert.deepEqual(answers[2], answers[0]);
});
