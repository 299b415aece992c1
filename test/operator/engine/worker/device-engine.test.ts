import assert from "node:assert/strict";
import { after, test } from "node:test";
import type { Engine, GenerateRequest } from "../../../../operator/engine/engine.ts";
import { renderPrometheus } from "../../../../operator/engine/metrics.ts";
import { startEmbeddedEngine } from "../../../../operator/engine/worker/embedded-engine.ts";
import { missingWebGpu } from "../runtime/webgpu-driver.ts";
import { adapter, GRAPHS, MODEL } from "./tiny-model.ts";

const skip = (await missingWebGpu()) ?? false;

async function start(provider: "cpu" | "webgpu"): Promise<Engine> {
  const sizes = { slots: 2, maxRank: 8, blockSize: 16, blocks: 512, maxBatch: 4, memoryBytes: 768 * 2 ** 20 };
  const engine = await startEmbeddedEngine({
    ...{ model: MODEL, quantisation: "f32", exact: true, threads: 1, warm: false, cache: GRAPHS, provider },
    ...sizes,
  });
  after(() => engine.close());
  await engine.registerAdapters([3, 4, 5].map((seed) => ({ id: `adapter ${seed}`, path: adapter(seed) })));
  return engine;
}

async function answer(engine: Engine, request: GenerateRequest): Promise<string> {
  let text = "";
  for await (const event of engine.generate({ ...request, sampling: { temperature: 0 }, maxTokens: 4 })) {
    if (event.type === "token" || event.type === "finish") text += event.text;
  }
  return text;
}

test("an engine on WebGPU answers as one on the processor does, and says what it keeps where", { skip }, async () => {
  const requests: GenerateRequest[] = [
    { prompt: { text: "Once upon a time" }, adapters: [{ id: "adapter 3" }] },
    { prompt: { text: "There was a dog" }, adapters: [{ id: "adapter 4", weight: 0.5 }] },
    // Three adapters for two slots: one has to wait for another's slot and is copied over it.
    { prompt: { text: "The cat sat" }, adapters: [{ id: "adapter 5" }] },
  ];
  const [host, device] = [await start("cpu"), await start("webgpu")];
  const answers = (engine: Engine) => Promise.all(requests.map((request) => answer(engine, request)));
  assert.deepEqual(await answers(device), await answers(host));
  assert.equal((await device.info()).settings.memoryPlace, "webgpu");
  const metrics = renderPrometheus(await device.metrics());
  assert.match(metrics, /^openledger:runner_memory_bytes\{what="kv",place="webgpu"\} [1-9]/m);
  assert.match(metrics, /^openledger:runner_memory_bytes\{what="adapters",place="webgpu"\} [1-9]/m);
  assert.match(metrics, /^openledger:device_sent_bytes_total [1-9]/m);
  const plain = renderPrometheus(await host.metrics());
  assert.match(plain, /^openledger:runner_memory_bytes\{what="kv",place="cpu"\} [1-9]/m);
  assert.doesNotMatch(plain, /device_sent_bytes/);
});
