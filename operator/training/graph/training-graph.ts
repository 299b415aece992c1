import type { ModelConfig } from "../../engine/model/config-types.ts";
import { LORA_TARGETS, type LoraTarget, targetShape } from "../../engine/model/lora.ts";
import { expectedTensors, modulePath } from "../../engine/model/model-weights.ts";
import { GraphBuilder, type TensorName } from "../../engine/onnx/graph-builder.ts";
import { differentiate } from "../autodiff/backward.ts";
import { type BatchShape, writeDecoder } from "./decoder.ts";

/** Size and reach of the adapters that are trained. */
export interface LoraPlan {
  readonly rank: number;
  /** The product of the factors is multiplied by alpha / rank. */
  readonly alpha: number;
  readonly targets: readonly LoraTarget[];
}

/** Graph inputs beside the weights. */
export const BATCH_INPUTS = {
  tokens: "tokens",
  positions: "positions",
  cos: "cos",
  sin: "sin",
  /** int64 `[rows * length, 1]`: the token that each position should predict. */
  targets: "targets",
  /** float32 `[rows * length, 1]`: weight of each position in the loss. */
  weights: "weights",
} as const;

export const OUTPUTS = { loss: "loss", logProbabilities: "log_probabilities", predictions: "predictions" } as const;

/** Name of the gradient output of a trained tensor. */
export const gradientName = (parameter: string): string => `gradient of ${parameter}`;

/** Name of the mask input for layers with this window (null: all earlier tokens). */
export const maskName = (window: number | null): string => (window === null ? "mask" : `mask of ${window}`);

/** Names of LoRA factors, as PEFT has them in its files. */
export function loraNames(layer: number, target: LoraTarget): { a: string; b: string } {
  const prefix = `base_model.model.model.${modulePath(layer, target)}`;
  return { a: `${prefix}.lora_A.weight`, b: `${prefix}.lora_B.weight` };
}

/** Shapes of all LoRA factors of a plan, in PEFT's names and layout. */
export function loraShapes(config: ModelConfig, plan: LoraPlan): Map<string, number[]> {
  const shapes = new Map<string, number[]>();
  for (let layer = 0; layer < config.layers; layer++) {
    for (const target of LORA_TARGETS.filter((name) => plan.targets.includes(name))) {
      const [outputs, inputs] = targetShape(config, target);
      const { a, b } = loraNames(layer, target);
      shapes.set(a, [plan.rank, inputs]);
      shapes.set(b, [outputs, plan.rank]);
    }
  }
  return shapes;
}

export interface TrainingGraphOptions {
  readonly config: ModelConfig;
  readonly shape: BatchShape;
  /** Adapters in the graph. Without them the weights themselves are there to be trained. */
  readonly lora?: LoraPlan;
  /** Outputs: the gradient of every trained tensor, or the likeliest next token of every position. */
  readonly purpose: "gradients" | "predictions";
}

/**
 * Graph of the loss of one batch: minus the weighted sum of the log-probabilities of the targets.
 *
 * All weights are inputs, which ONNX Runtime reads in place. Outputs: loss (scalar) and log-probability of each target
 * `[rows * length, 1]`; then, by purpose, gradients of the LoRA factors (with `lora`; none of the frozen weights is
 * computed) or of all weights, or predictions (int64 `[rows * length]`).
 */
export function buildTrainingGraph({ config, shape, lora, purpose }: TrainingGraphOptions): GraphBuilder {
  const graph = new GraphBuilder("training");
  const count = shape.rows * shape.length;
  const baseShapes = expectedTensors(config);
  for (const [name, dims] of baseShapes) graph.input(name, "float32", dims);
  const adapterShapes = lora === undefined ? new Map<string, number[]>() : loraShapes(config, lora);
  for (const [name, dims] of adapterShapes) graph.input(name, "float32", dims);
  const { tokens, positions, cos, sin, targets, weights } = BATCH_INPUTS;
  graph.input(tokens, "int64", [count]);
  graph.input(positions, "int64", [shape.rows, shape.length]);
  graph.input(cos, "float32", [shape.length, config.headDim / 2]);
  graph.input(sin, "float32", [shape.length, config.headDim / 2]);
  const stacked = (config.heads / config.kvHeads) * shape.length;
  for (const name of new Set(config.windows.map(maskName))) graph.input(name, "float32", [stacked, shape.length]);
  graph.input(targets, "int64", [count, 1]);
  graph.input(weights, "float32", [count, 1]);

  const logits = writeDecoder(graph, config, shape, {
    tokens,
    positions,
    cos,
    sin,
    mask: (layer) => maskName(config.windows[layer]),
    weight: (name) => name,
    lora: (layer, target) => {
      if (lora === undefined || !lora.targets.includes(target)) return undefined;
      return { ...loraNames(layer, target), scale: lora.alpha / lora.rank };
    },
  });
  const logShares = graph.op("LogSoftmax", [logits], { axis: -1 });
  const chosen = graph.op("GatherElements", [logShares, targets], { axis: 1 });
  const sum = graph.op("ReduceSum", [graph.op("Mul", [chosen, weights]), graph.ints([0, 1])], { keepdims: 0 });
  const loss = graph.op("Neg", [sum]);
  graph.output(loss, "float32", [], OUTPUTS.loss);
  graph.output(chosen, "float32", [count, 1], OUTPUTS.logProbabilities);
  if (purpose === "predictions") {
    const best = graph.op("ArgMax", [logits], { axis: -1, keepdims: 0 });
    graph.output(best, "int64", [count], OUTPUTS.predictions);
    return graph;
  }
  const trained: Map<TensorName, number[]> = lora === undefined ? baseShapes : adapterShapes;
  for (const [name, gradient] of differentiate(graph, loss, [...trained.keys()])) {
    graph.output(gradient, "float32", trained.get(name)!, gradientName(name));
  }
  return graph;
}
