import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { after, test } from "node:test";
import { readAdapter } from "../../../../operator/engine/model/adapter-folder.ts";
import type { LoadedAdapter } from "../../../../operator/engine/model/lora.ts";
import { cApiRuntime } from "../../../../operator/engine/runtime/c-api-runtime.ts";
import type { GraphModelRunner } from "../../../../operator/engine/runtime/graph-model-runner.ts";
import type { RowAdapter, StepRow } from "../../../../operator/engine/runtime/model-runner.ts";
import { relativeL2 } from "../reference/forward.ts";
import { randomAdapter, randomModel } from "../reference/random-model.ts";
import { feed, row, runnerOf, sequence, tokensOf } from "./feeding.ts";
import { missingWebGpu } from "./webgpu-driver.ts";

const skip = (await missingWebGpu()) ?? false;
const model = randomModel();
const folders = [5, 6].map((seed) => randomAdapter(model, { seed }).folder);
const opened: GraphModelRunner[] = [];
after(async () => {
  for (const runner of opened) await runner.close();
});

/** The same model on the processor and on the device, with both adapters in slots 1 and 2. */
async function pair(options: Parameters<typeof runnerOf>[1] = {}): Promise<[GraphModelRunner, GraphModelRunner]> {
  const runners = [await runnerOf(model, options), await runnerOf(model, { ...options, provider: "webgpu" })] as const;
  opened.push(...runners);
  for (const runner of runners) {
    for (const [i, folder] of folders.entries()) runner.loadSlot(i + 1, readAdapter(folder, runner.config));
  }
  return [...runners];
}

const shared = skip ? undefined : await pair();

/** Generates greedily, all prompts in one batch, and returns the tokens. */
async function greedy(runner: GraphModelRunner, prompts: Int32Array[], adapters: RowAdapter[][], count: number) {
  const texts = prompts.map((prompt) => [...prompt]);
  let done = texts.map(() => 0);
  for (let step = 0; step < count; step++) {
    const rows = texts.map((text, i): StepRow => {
      const tokens = Int32Array.from(text.slice(done[i]));
      const blocks = Int32Array.from({ length: Math.ceil(text.length / 8) }, (_, j) => 12 * i + j);
      return { tokens, past: done[i], blocks, adapters: adapters[i], logitsAt: Int32Array.of(tokens.length - 1) };
    });
    const { logits, finite } = await runner.step(rows);
    assert.ok(finite.every(Boolean));
    done = texts.map(({ length }) => length);
    for (const [i, text] of texts.entries()) text.push(logits[i].indexOf(Math.max(...logits[i])));
  }
  return texts.map((text, i) => text.slice(prompts[i].length));
}

const MIXED: RowAdapter[][] = [
  [{ slot: 2, weight: 1 }],
  [],
  [
    { slot: 1, weight: 0.5 },
    { slot: 2, weight: 0.75 },
  ],
  [{ slot: 1, weight: 1 }],
];
const PROMPTS = [17, 3, 9, 24].map((length, i) => tokensOf(model, length, i + 1));

for (const quantisation of ["f32", "q4"] as const) {
  const name = `greedy tokens of a batch with mixed adapters are the processor's (${quantisation})`;
  test(name, { skip }, async () => {
    const [host, device] = quantisation === "f32" ? shared! : await pair({ quantisation });
    const tokens = await greedy(device, PROMPTS, MIXED, 16);
    assert.deepEqual(tokens, await greedy(host, PROMPTS, MIXED, 16));
    assert.notDeepEqual(tokens, await greedy(device, PROMPTS, [[], [], [], []], 16));
  });
}

test("chunks of one prompt, shared blocks, copied blocks and scores are the processor's", { skip }, async () => {
  const results = [];
  for (const runner of shared!) {
    const tokens = tokensOf(model, 40, 7);
    const alone = await feed(runner, [sequence(tokens, 0, [{ slot: 1, weight: 1 }])], [[0, 1, 19, 38, 40]]);
    // The first 16 tokens of another sequence lie in the first one's blocks, and 4 more in a copy of its third.
    const other = { ...sequence(tokensOf(model, 40, 8), 20, [{ slot: 1, weight: 1 }]) };
    other.tokens.set(tokens.subarray(0, 20));
    other.blocks.set([0, 1]);
    runner.copyBlock(2, other.blocks[2]);
    const after = await feed(runner, [other], [[20, 21, 40]]);
    const scored = { ...row(other, 30, 40), targets: other.tokens.slice(30, 40) };
    const { logprobs } = await runner.step([scored]);
    results.push([...alone[0], ...after[0], logprobs[0].slice()]);
  }
  const error = relativeL2(results[1], results[0]);
  assert.ok(error <= 1e-5, `relative error ${error}`);
});

test("a step with every slot in use needs no gathering on the device either", { skip }, async () => {
  const [host, device] = shared!;
  const inSlots = folders.map((folder) => readAdapter(folder, host.config));
  const results = [];
  for (const runner of [host, device]) {
    runner.loadSlot(0, inSlots[1]);
    const all = [0, 1, 2].map((slot) => sequence(tokensOf(model, 12, slot), 16 * slot, [{ slot, weight: 1 }]));
    const boundaries = all.map(() => [0, 10, 11, 12]);
    results.push((await feed(runner, all, boundaries)).flat());
  }
  assert.ok(relativeL2(results[1], results[0]) <= 1e-5);
});

test("a row that overflows is reported and leaves nothing behind in its blocks", { skip }, async () => {
  const [host, device] = shared!;
  const adapter = readAdapter(folders[0], host.config);
  const huge = (values: Float32Array) => values.map((value) => Math.sign(value) * 3e38);
  const broken: LoadedAdapter = {
    ...adapter,
    layers: adapter.layers.map((layer) => ({
      ...layer,
      k_proj: { ...layer.k_proj!, b: huge(layer.k_proj!.b) },
      v_proj: { ...layer.v_proj!, b: huge(layer.v_proj!.b) },
    })),
  };
  const results = [];
  for (const runner of [host, device]) {
    runner.loadSlot(3, broken);
    const failing = sequence(tokensOf(model, 13, 1), 0, [{ slot: 3, weight: 1 }]);
    const healthy = sequence(tokensOf(model, 13, 2), 16, [{ slot: 1, weight: 1 }]);
    const { finite, logits } = await runner.step([row(failing, 0, 13), row(healthy, 0, 13)]);
    assert.deepEqual(finite, [false, true]);
    // Its blocks go to another sequence, which gathers their unwritten rest behind a mask.
    const next = await feed(runner, [sequence(tokensOf(model, 13, 3), 0)], [[0, 3, 4, 13]]);
    results.push([logits[1].slice(), ...next[0]]);
  }
  const error = relativeL2(results[1], results[0]);
  assert.ok(error <= 1e-5, `relative error ${error}`);
});

test("a decode step sends some kilobytes although the pools are megabytes", { skip }, async () => {
  const runner = await runnerOf(model, { provider: "webgpu", blocks: 4096, slots: 16 });
  opened.push(runner);
  for (const [i, folder] of folders.entries()) runner.loadSlot(i, readAdapter(folder, runner.config));
  assert.equal(runner.place, "webgpu");
  assert.ok(runner.memory.kv > 8e6 && runner.memory.adapters > 9e5);
  const sequences = [0, 1, 2].map((i) => sequence(tokensOf(model, 40, i), 16 * i, [{ slot: i % 2, weight: 1 }]));
  await runner.step(sequences.map((one) => row(one, 0, 30)));
  const before = runner.traffic!;
  await runner.step(sequences.map((one) => row(one, 30, 31)));
  const { uploaded, fetched } = runner.traffic!;
  assert.ok(uploaded - before.uploaded < 10_000, `${uploaded - before.uploaded} bytes sent`);
  // Logits of three rows and a checksum for each.
  assert.equal(fetched - before.fetched, 3 * (runner.config.vocabSize + 1) * 4);
});

test("an adapter crosses once, and graphs share one copy of the weights", { skip }, async () => {
  const [, device] = shared!;
  const before = device.traffic!.uploaded;
  device.loadSlot(0, readAdapter(folders[0], device.config));
  const slot = device.memory.adapters / device.limits.slots;
  const sent = device.traffic!.uploaded - before;
  assert.ok(sent >= slot && sent < 1.2 * slot, `${sent} bytes sent for a slot of ${slot}`);
  const fresh = await runnerOf(model, { provider: "webgpu" });
  opened.push(fresh);
  const steps = [0, 1, 2].map(() => sequence(tokensOf(model, 8, 1), 0));
  await fresh.step([row(steps[0], 0, 1)]);
  const withWeights = fresh.traffic!.uploaded;
  assert.ok(withWeights > fresh.memory.weights, "the first graph brings the weights");
  await fresh.step([row(steps[1], 0, 8)]);
  assert.ok(fresh.traffic!.uploaded - withWeights < 20_000, "the second graph finds them there");
});

test("a slot that the device does not have, or that holds nothing, is refused", { skip }, async () => {
  const [, device] = shared!;
  assert.throws(() => device.loadSlot(4, readAdapter(folders[0], device.config)), /Slot 4 is not one of 4/);
  assert.throws(() => device.clearSlot(-1), /Slot -1/);
  device.clearSlot(3);
  const use = sequence(tokensOf(model, 4, 1), 0, [{ slot: 3, weight: 1 }]);
  await assert.rejects(device.step([row(use, 0, 4)]), /slot 3 holds no adapter/);
});

const libraries = join(
  dirname(dirname(createRequire(import.meta.url).resolve("onnxruntime-node"))),
  "bin/napi-v6/linux/x64/libonnxruntime_providers_cuda.so",
);
test("without CUDA's library the error names what to install", { skip: existsSync(libraries) }, () => {
  assert.throws(() => cApiRuntime.openDevice!("cuda"), /ONNXRUNTIME_NODE_INSTALL=cuda12.*providers_shared/s);
});
