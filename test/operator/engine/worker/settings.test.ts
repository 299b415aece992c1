import assert from "node:assert/strict";
import { test } from "node:test";
import { EngineError } from "../../../../operator/engine/engine-error.ts";
import { describeSettings, type EngineSettings, resolveSettings } from "../../../../operator/engine/worker/settings.ts";
import { TINY } from "../adapters/tiny-adapter.ts";

const GIB = 2 ** 30;
/** The sizes of SmolLM2-135M. */
const MODEL = {
  ...TINY,
  ...{ vocabSize: 49_152, hiddenSize: 576, intermediateSize: 1536, layers: 30, heads: 9, kvHeads: 3, headDim: 64 },
  maxPositions: 8192,
};
const resolve = (settings: Partial<EngineSettings>, memoryBytes: number, processors = 2, model = MODEL) =>
  resolveSettings({ model: "m", ...settings }, model, { processors, memoryBytes });

test("defaults fill the memory of the machine and never more than their share of it", () => {
  for (const memoryBytes of [3 * GIB, 4 * GIB, 16 * GIB, 256 * GIB]) {
    const settings = resolve({}, memoryBytes);
    const { weights, graphs, kv, slots, host } = settings.memory;
    assert.ok(weights + graphs + kv + slots + host <= 0.6 * memoryBytes, `${memoryBytes}`);
    assert.ok(settings.blocks * settings.blockSize >= 2048, "room for at least one usual conversation");
    assert.ok(settings.slots >= 2 && settings.slots <= 32);
    assert.ok(host >= 2 * settings.largestAdapterBytes);
  }
  assert.ok(resolve({}, 16 * GIB).slots > resolve({}, 3 * GIB).slots);
});

test("packed weights are counted once where graphs share them, and for each graph elsewhere", () => {
  const machine = { processors: 2, memoryBytes: 16 * GIB };
  const graphs = (sharesWeights: boolean, provider: "cpu" | "webgpu" = "cpu") =>
    resolveSettings({ model: "m", quantisation: "f32", provider }, MODEL, { ...machine, sharesWeights }).memory.graphs;
  const { weights } = resolve({ quantisation: "f32" }, 16 * GIB).memory;
  assert.equal(graphs(false) - graphs(true), 5 * Math.ceil(weights * 1.25));
  assert.equal(graphs(true, "webgpu"), graphs(false));
  const settings = { model: "m", quantisation: "f32", provider: "webgpu" } as const;
  const device = resolveSettings(settings, MODEL, { ...machine, opensDevices: true }).memory.graphs;
  assert.equal(graphs(true) - device, Math.ceil(weights * 1.25), "nothing is packed on a device");
});

test("8-bit copies are kept where the processor has units for them and they leave the memory to the rest", () => {
  const resolved = (given: Partial<EngineSettings>, gigabytes: number, matrixUnits = true) => {
    const machine = { processors: 2, memoryBytes: gigabytes * GIB, sharesWeights: true, matrixUnits };
    return resolveSettings({ model: "m", ...given }, MODEL, machine);
  };
  const [plain, copied] = [resolved({}, 16, false), resolved({}, 16)];
  assert.deepEqual([plain.int8, copied.int8], [false, true]);
  // A byte for each weight, and as much packed.
  assert.equal(Math.round((2.6 * plain.memory.weights) / copied.memory.weights), 1);
  assert.ok(copied.memory.graphs > plain.memory.graphs);
  assert.equal(resolved({}, 1.8).int8, false);
  assert.equal(resolved({ exact: true }, 16).int8, false);
  assert.equal(resolved({ exact: true, int8: true }, 16).int8, false);
  assert.equal(resolved({ quantisation: "f32" }, 16).int8, false);
  assert.equal(resolved({ int8: false }, 16).int8, false);
  assert.equal(resolved({ int8: true }, 16, false).int8, true);
});

test("blocks are left out only where that is asked for, and only in ways that make sense", () => {
  assert.deepEqual([resolve({}, 16 * GIB).sparse, describeSettings(resolve({}, 16 * GIB)).sparse], [undefined, "off"]);
  const settings = resolve({ sparse: { localBlocks: 16, stride: 8 }, blockSize: 32 }, 16 * GIB);
  assert.deepEqual(settings.sparse, { blockSize: 32, sinkBlocks: 1, localBlocks: 16, stride: 8 });
  assert.equal(describeSettings(settings).sparse, "1,16,8");
  const refused = (sparse: EngineSettings["sparse"], message: RegExp, provider: "cpu" | "webgpu" = "cpu") =>
    assert.throws(
      () => resolve({ sparse, provider }, 16 * GIB),
      (error: EngineError) => error.code === "invalid_request" && message.test(error.message),
    );
  refused({ localBlocks: 0 }, /sparse\.localBlocks is 0, not a whole number of blocks from 1/);
  refused({ localBlocks: 4, sinkBlocks: -1 }, /sparse\.sinkBlocks is -1/);
  refused({ localBlocks: 4, stride: 0.5 }, /sparse\.stride is 0\.5/);
  refused({ localBlocks: 4 }, /on the processor only, and the provider is webgpu/, "webgpu");
});

test("large models are quantised by default, small ones are not", () => {
  assert.equal(resolve({}, 16 * GIB).quantisation, "q4");
  assert.equal(resolve({}, 16 * GIB, 2, TINY as typeof MODEL).quantisation, "f32");
  assert.equal(resolve({ quantisation: "f32" }, 16 * GIB).quantisation, "f32");
});

test("threads follow the processors, and the batch follows the threads", () => {
  assert.deepEqual(
    [2, 16].map((processors) => resolve({}, 16 * GIB, processors).threads),
    [2, 16],
  );
  assert.deepEqual(
    [2, 16].map((processors) => resolve({}, 64 * GIB, processors).maxBatch),
    [16, 32],
  );
});

test("an adapter of the largest rank takes what the slots and the cache count for it", () => {
  // Rank 16 on seven matrices of 30 layers, as float32.
  assert.equal(resolve({}, 16 * GIB).largestAdapterBytes, 19_537_920);
  assert.equal(resolve({ maxRank: 64 }, 16 * GIB).largestAdapterBytes, 4 * 19_537_920);
});

test("what was set is taken as it is, and refused by name where it cannot be", () => {
  const { blocks, adapterBytes, slots } = resolve({ kvBytes: GIB, adapterBytes: GIB, slots: 9 }, 16 * GIB);
  assert.ok(blocks * 64 * 30 * 2 * 3 * 64 * 4 <= GIB);
  assert.deepEqual([adapterBytes, slots], [GIB, 9]);
  const refused: [Partial<EngineSettings>, RegExp][] = [
    [{ threads: 0 }, /threads is 0/],
    [{ slots: 1.5 }, /slots is 1.5/],
    [{ maxRank: Number.NaN }, /maxRank is NaN/],
    [{ kvBytes: 1000 }, /kvBytes is 1000 bytes; two blocks take/],
    [{ adapterBytes: 1000 }, /adapterBytes is 1000 bytes; one adapter of rank 16 takes/],
    [{ slots: 2000 }, /does not fit.*slots 37266 MiB/],
    [{ quantisation: "f32", memoryBytes: GIB / 2 }, /does not fit: weights 513 MiB/],
  ];
  for (const [settings, message] of refused) {
    assert.throws(
      () => resolve(settings, 16 * GIB),
      (error: unknown) =>
        error instanceof EngineError && error.code === "invalid_request" && message.test(error.message),
    );
  }
});
