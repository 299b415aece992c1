/**
 * `npm run bench:training [-- --json] [--shapes 15m,135m] [--length 256] [--rows 4] [--threads 2] [--steps 5]`
 *
 * Speed of LoRA training on random weights of real shapes, and the share it reaches of what the same machine does in
 * large matrix products in the same run.
 */
import { availableParallelism } from "node:os";
import { parseArgs } from "node:util";
import { InferenceSession, Tensor } from "onnxruntime-node";
import type { ModelConfig } from "../../operator/engine/model/config-types.ts";
import { LORA_TARGETS } from "../../operator/engine/model/lora.ts";
import { expectedTensors } from "../../operator/engine/model/model-weights.ts";
import { GraphBuilder } from "../../operator/engine/onnx/graph-builder.ts";
import { serialiseModel } from "../../operator/engine/onnx/serialise.ts";
import { makeBatch } from "../../operator/training/batch.ts";
import { GradientSession } from "../../operator/training/gradient-session.ts";
import { type LoraPlan, loraShapes } from "../../operator/training/graph/training-graph.ts";
import { initialFactors } from "../../operator/training/lora/adapter-weights.ts";
import { readTrainableModel } from "../../operator/training/model-folder.ts";
import { AdamW } from "../../operator/training/optimizer.ts";
import { seeded } from "../../operator/training/random.ts";
import { modelFolder, type ShapeName } from "../bench/shapes.ts";

const { values } = parseArgs({
  options: {
    json: { type: "boolean", default: false },
    shapes: { type: "string", default: "15m,135m" },
    length: { type: "string", default: "256" },
    rows: { type: "string", default: "4" },
    threads: { type: "string", default: String(availableParallelism()) },
    steps: { type: "string", default: "5" },
  },
});
const [length, rows, threads, steps] = [values.length, values.rows, values.threads, values.steps].map(Number);
const PLAN: LoraPlan = { rank: 16, alpha: 32, targets: LORA_TARGETS };

const shapes: Record<string, { tokensPerSecond: number; gflops: number; flopShare: number }> = {};
for (const name of values.shapes.split(",") as ShapeName[]) shapes[name] = await benchShape(name);
const largest = values.shapes.split(",").at(-1)!;
const report = { threads, length, rows, shapes, flopShare: shapes[largest].flopShare };
if (values.json) console.log(JSON.stringify(report));
else {
  for (const [name, { tokensPerSecond, gflops, flopShare }] of Object.entries(shapes)) {
    console.log(
      `${name.padEnd(6)} ${tokensPerSecond.toFixed(0)} tokens/s, ${gflops.toFixed(0)} GFLOP/s, share ${flopShare.toFixed(2)}`,
    );
  }
}

/** Takes turns: a step, a matrix product, a step, so that a busy machine slows both alike. */
async function benchShape(name: ShapeName): Promise<{ tokensPerSecond: number; gflops: number; flopShare: number }> {
  const { config, weights } = readTrainableModel(modelFolder(name));
  const random = seeded(1, name);
  const lora = { ...initialFactors(config, PLAN, 1), plan: PLAN };
  const session = new GradientSession({ config, base: weights, lora, threads });
  const optimizer = new AdamW(lora.layout, { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0 });
  const gradient = new Float32Array(lora.layout.size);
  const step = async (): Promise<void> => {
    const batch = makeBatch(
      { rows, length },
      Array.from({ length: rows }, () => ({
        tokens: Int32Array.from({ length }, () => random.int(config.vocabSize)),
        weights: new Float32Array(length).fill(1),
      })),
      1 / (rows * (length - 1)),
    );
    gradient.fill(0);
    await session.accumulate(batch, gradient);
    optimizer.update(lora.values, gradient, 1, 1e-4, 1);
  };
  const product = await matrixProduct(threads);
  await step();
  await product.run();
  const [stepTimes, rates]: number[][] = [[], []];
  for (let i = 0; i < steps; i++) {
    const begin = performance.now();
    await step();
    stepTimes.push((performance.now() - begin) / 1000);
    rates.push(await product.run());
  }
  await session.close();
  await product.close();
  const seconds = median(stepTimes);
  const tokens = rows * length;
  const gflops = (tokens * flopsPerToken(config)) / seconds / 1e9;
  return { tokensPerSecond: tokens / seconds, gflops, flopShare: gflops / median(rates) };
}

/**
 * Floating-point operations of LoRA training per token: two for each weight of a matrix forward and two back to the
 * activations, none for weight gradients of the frozen base; six for each adapter weight; attention's two products
 * forward and four back over the whole length.
 */
function flopsPerToken(config: ModelConfig): number {
  const matrices = [...expectedTensors(config)].filter(([, dims]) => dims.length === 2);
  const weights = matrices.reduce((total, [, [a, b]]) => total + a * b, 0);
  const adapter = [...loraShapes(config, PLAN).values()].reduce((total, [a, b]) => total + a * b, 0);
  const attention = 12 * length * config.heads * config.headDim * config.layers;
  return 4 * weights + 6 * adapter + attention;
}

/** A product of 1,024 x 1,024 matrices, repeated inside one graph. `run` gives GFLOP/s. */
async function matrixProduct(count: number): Promise<{ run(): Promise<number>; close(): Promise<void> }> {
  const size = 1024;
  const repeats = 8;
  const graph = new GraphBuilder("product");
  graph.input("a", "float32", [size, size]);
  let x = graph.input("b", "float32", [size, size]);
  for (let i = 0; i < repeats; i++) x = graph.op("Gemm", ["a", x], { transB: 1 });
  const sum = graph.op("ReduceSum", [x, graph.ints([0, 1])], { keepdims: 0 });
  graph.output(sum, "float32", [], "sum");
  const session = await InferenceSession.create(serialiseModel(graph), { intraOpNumThreads: count });
  const matrix = new Tensor("float32", new Float32Array(size * size).fill(1e-3), [size, size]);
  return {
    async run() {
      const begin = performance.now();
      await session.run({ a: matrix, b: matrix });
      return (repeats * 2 * size ** 3) / (performance.now() - begin) / 1e6;
    },
    close: () => session.release(),
  };
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[sorted.length >> 1];
}
