import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { ModelConfig } from "../../../../operator/engine/model/config-types.ts";
import { LORA_TARGETS } from "../../../../operator/engine/model/lora.ts";
import { expectedTensors } from "../../../../operator/engine/model/model-weights.ts";
import { attentionMask, makeBatch, positionIds, rotaryTables } from "../../../../operator/training/batch.ts";
import {
  BATCH_INPUTS,
  buildTrainingGraph,
  gradientName,
  type LoraPlan,
  loraShapes,
  maskName,
  OUTPUTS,
} from "../../../../operator/training/graph/training-graph.ts";
import { seeded } from "../../../../operator/training/random.ts";
import { interpret, type Tensor64 } from "../autodiff/interpreter.ts";

const TINY: ModelConfig = {
  family: "llama",
  vocabSize: 11,
  hiddenSize: 8,
  intermediateSize: 12,
  layers: 2,
  heads: 4,
  kvHeads: 2,
  headDim: 4,
  maxPositions: 16,
  rmsNormEps: 1e-5,
  ropeTheta: 100,
  ropeScaling: { type: "none" },
  windows: [null, 3],
  tiedEmbeddings: true,
  qkvBias: false,
  outputBias: false,
  mlpBias: false,
  qkNorm: false,
  bosTokenId: undefined,
  eosTokenIds: [0],
};

const CONFIGS: Record<string, ModelConfig> = {
  "grouped heads, biases everywhere, a window and a head of its own": {
    ...TINY,
    tiedEmbeddings: false,
    qkvBias: true,
    outputBias: true,
    mlpBias: true,
  },
  "normed queries and keys": { ...TINY, family: "qwen3", qkNorm: true, heads: 2, layers: 1, windows: [null] },
};
const PLAN: LoraPlan = { rank: 2, alpha: 4, targets: LORA_TARGETS };
const SHAPE = { rows: 2, length: 5 };

function inputsFor(config: ModelConfig, lora?: LoraPlan): Record<string, Tensor64> {
  const random = seeded(5, "model");
  const inputs: Record<string, Tensor64> = {};
  const shapes = [...expectedTensors(config), ...(lora ? loraShapes(config, lora) : [])];
  for (const [name, dims] of shapes) {
    const size = dims.reduce((a, b) => a * b, 1);
    inputs[name] = { dims, data: Float64Array.from({ length: size }, () => 0.6 * random.normal()) };
  }
  const row = (length: number) => ({
    tokens: Int32Array.from({ length }, () => random.int(config.vocabSize)),
    weights: Float32Array.from({ length }, () => random.next()),
  });
  const batch = makeBatch(SHAPE, [row(5), row(3)]);
  const count = SHAPE.rows * SHAPE.length;
  const { cos, sin } = rotaryTables(config, SHAPE.length);
  const floats = (dims: number[], data: ArrayLike<number>): Tensor64 => ({ dims, data: Float64Array.from(data) });
  const ints = (dims: number[], data: BigInt64Array): Tensor64 => ({ dims, data: Float64Array.from(data, Number) });
  inputs[BATCH_INPUTS.tokens] = ints([count], batch.tokens);
  inputs[BATCH_INPUTS.positions] = ints([SHAPE.rows, SHAPE.length], positionIds(SHAPE));
  inputs[BATCH_INPUTS.cos] = floats([SHAPE.length, config.headDim / 2], cos);
  inputs[BATCH_INPUTS.sin] = floats([SHAPE.length, config.headDim / 2], sin);
  inputs[BATCH_INPUTS.targets] = ints([count, 1], batch.targets);
  inputs[BATCH_INPUTS.weights] = floats([count, 1], batch.weights);
  for (const window of new Set(config.windows)) {
    const mask = attentionMask(config, SHAPE.length, window);
    inputs[maskName(window)] = floats([mask.length / SHAPE.length, SHAPE.length], mask);
  }
  return inputs;
}

describe("the training graph", () => {
  for (const [name, config] of Object.entries(CONFIGS)) {
    for (const lora of [undefined, PLAN]) {
      it(`has gradients that agree with central differences: ${name}, ${lora ? "LoRA" : "all weights"}`, () => {
        const options = { config, shape: SHAPE, purpose: "gradients" as const };
        const graph = buildTrainingGraph(lora ? { ...options, lora } : options);
        const inputs = inputsFor(config, lora);
        const values = interpret(graph, inputs);
        const trained = lora ? loraShapes(config, lora) : expectedTensors(config);
        for (const parameter of trained.keys()) {
          const { dims, data } = inputs[parameter];
          const gradient = values.get(gradientName(parameter))!;
          assert.deepEqual(gradient.dims, dims);
          for (const i of [0, data.length >> 1]) {
            const at = (value: number): number =>
              interpret(graph, { ...inputs, [parameter]: { dims, data: data.with(i, value) } }).get(OUTPUTS.loss)!
                .data[0];
            const numeric = (at(data[i] + 1e-5) - at(data[i] - 1e-5)) / 2e-5;
            const difference = Math.abs(numeric - gradient.data[i]);
            assert.ok(difference <= 1e-8 * Math.max(1, Math.abs(numeric)), `${parameter}[${i}]: off by ${difference}`);
          }
        }
      });
    }
  }
});
