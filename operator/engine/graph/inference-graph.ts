import type { ModelConfig } from "../model/config-types.ts";
import { type LoraGroup, targetShape } from "../model/lora.ts";
import { ELEMENT_TYPES } from "../onnx/element-type.ts";
import { GraphBuilder, type TensorName } from "../onnx/graph-builder.ts";
import { type AttentionKind, attention, declareAttentionInputs, storeInPools } from "./attention.ts";
import { addLora, declareLoraInputs, type LoraKind } from "./lora-delta.ts";
import type { Matrices } from "./matrices.ts";
import { EMBEDDING, FINAL_NORM, HEAD, layerTensor } from "./matrix-sources.ts";

export interface InferenceGraphOptions {
  readonly attention: AttentionKind;
  readonly lora: LoraKind;
  /** The pools are on a device: the graph itself stores the new keys and values there. Not for `flash`. */
  readonly resident: boolean;
}

/**
 * The graph of one step over N tokens of any rows.
 *
 * Inputs: `tokens [N]`, `cos` and `sin [N, headDim / 2]` of their positions, `head_rows [P]` (tokens whose next-token
 * distribution is wanted), `score_rows [Q]` and `score_targets [Q, 1]` (which of those P to score, and the token whose
 * log-probability is wanted), what attention and adapters declare, and the pools.
 *
 * Outputs: `logits [P, vocabSize]`, `logprobs [Q, 1]`, `kv [2 · layers · rows, kvHeads, width, headDim]` (the new
 * keys of every layer, then the new values of every layer).
 *
 * A resident graph has no output `kv`. It reads `places [N, 1]` and the pools as rows, and gives
 * `checksums [N]`, which are finite where the token's new keys and values of the last layer are.
 */
export function inferenceGraph(config: ModelConfig, matrices: Matrices, options: InferenceGraphOptions): GraphBuilder {
  const { hiddenSize, vocabSize, layers, kvHeads, headDim, rmsNormEps } = config;
  const g = new GraphBuilder(`${config.family}-${options.attention}-${options.lora}`);
  g.input("tokens", "int32", ["tokens"]);
  g.input("cos", "float32", ["tokens", headDim / 2]);
  g.input("sin", "float32", ["tokens", headDim / 2]);
  g.input("head_rows", "int32", ["wanted"]);
  g.input("score", "bool", []);
  g.input("score_rows", "int32", ["scored"]);
  g.input("score_targets", "int64", ["scored", 1]);
  declareAttentionInputs(g, config, options.attention, options.resident);
  if (options.resident) g.input("places", "int64", ["places", 1]);
  declareLoraInputs(g, options.lora);

  let residual = matrices.rows(g, "tokens", EMBEDDING, vocabSize, hiddenSize);
  let normed = matrices.norm(g, residual, layerTensor(0, "input_norm"), hiddenSize, rmsNormEps);
  const keys: TensorName[] = [];
  const values: TensorName[] = [];
  for (let layer = 0; layer < layers; layer++) {
    const linear = (x: TensorName, group: LoraGroup, outputs: number, inputs: number) => {
      // What q k v and gate up read is the residual stream, which keeps what is not finite for all layers after this
      // one; the last layer's keys and values are what is looked at.
      const watched = group === "o" || group === "down" || layer === layers - 1;
      const y = matrices.multiply(g, x, layerTensor(layer, group), outputs, inputs, undefined, watched);
      return addLora(g, config, options, layer, group, x, y);
    };
    const { q, k, v } = projections(g, config, matrices, layer, linear, normed);
    const attended = attention(g, config, options.attention, layer, q, k, v, options.resident);
    if (options.resident) storeInPools(g, config, layer, k, v);
    if (options.resident && layer === layers - 1) g.output(checksums(g, k, v), "float32", ["tokens"]);
    keys.push(attended.keys);
    values.push(attended.values);
    const projected = linear(attended.output, "o", ...targetShape(config, "o_proj"));
    const middle = matrices.addNorm(g, projected, residual, layerTensor(layer, "mlp_norm"), hiddenSize, rmsNormEps);
    const update = feedForward(g, config, linear, middle.normed);
    residual = middle.sum;
    if (layer === layers - 1) {
      const wanted = (x: TensorName) => g.op("Gather", [x, "head_rows"]);
      normed = matrices.addNorm(g, wanted(update), wanted(residual), FINAL_NORM, hiddenSize, rmsNormEps).normed;
    } else {
      const next = matrices.addNorm(g, update, residual, layerTensor(layer + 1, "input_norm"), hiddenSize, rmsNormEps);
      ({ normed, sum: residual } = next);
    }
  }
  const head = config.tiedEmbeddings ? EMBEDDING : HEAD;
  const logits = matrices.multiply(g, normed, head, vocabSize, hiddenSize, "logits");
  g.output(logits, "float32", ["wanted", vocabSize]);
  g.output(logProbabilities(g, logits, options.resident, "logprobs"), "float32", ["scored", 1]);
  if (options.resident) return g;
  if (options.attention !== "flash") {
    g.output(g.op("Concat", [...keys, ...values], { axis: 0 }, "kv"), "float32", ["kv", kvHeads, "width", headDim]);
  } else {
    const stacked = splitHeads(g, config, g.op("Concat", [...keys, ...values], { axis: 0 }));
    g.output(g.op("Transpose", [stacked], { perm: [0, 1, 3, 2, 4] }, "kv"), "float32", [
      2 * layers,
      "rows",
      kvHeads,
      "width",
      headDim,
    ]);
  }
  return g;
}

/** Sums over each token's keys and values. Infinities of opposite signs add up to NaN: nothing cancels. */
function checksums(g: GraphBuilder, k: TensorName, v: TensorName): TensorName {
  const sums = [k, v].map((x) => g.op("ReduceSum", [x, g.ints([0, 2])], { keepdims: 0 }));
  return g.op("Add", sums, {}, "checksums");
}

/** `[2 · layers, N, kvHeads · headDim]` as `[2 · layers, rows, width, kvHeads, headDim]`. */
function splitHeads(g: GraphBuilder, config: ModelConfig, stacked: TensorName): TensorName {
  const rows = g.op("Concat", [g.ints([2 * config.layers]), g.op("Slice", ["row_shape", g.ints([0]), g.ints([2])])], {
    axis: 0,
  });
  const shape = g.op("Concat", [rows, g.ints([config.kvHeads, config.headDim])], { axis: 0 });
  return g.op("Reshape", [stacked, shape]);
}

type Linear = (x: TensorName, group: LoraGroup, outputs: number, inputs: number) => TensorName;

/** Queries and keys, normed where the family does that and rotated; values. Each `[1, N, width]`. */
function projections(
  g: GraphBuilder,
  config: ModelConfig,
  matrices: Matrices,
  layer: number,
  linear: Linear,
  x: TensorName,
): { q: TensorName; k: TensorName; v: TensorName } {
  const { heads, kvHeads, headDim, hiddenSize, rmsNormEps } = config;
  const [qSize, kvSize] = [heads * headDim, kvHeads * headDim];
  const fused = g.op("Unsqueeze", [linear(x, "qkv", qSize + 2 * kvSize, hiddenSize), g.ints([0])]);
  const rotate = (tensor: TensorName, count: number) =>
    g.op("RotaryEmbedding", [tensor, g.ints([0]), "cos", "sin"], { num_heads: count });
  if (!config.qkNorm) {
    const [qk, v] = g.node("Split", [fused, g.ints([qSize + kvSize, kvSize])], { axis: 2 }, { outputs: 2 });
    const rotated = rotate(qk, heads + kvHeads);
    const [q, k] = g.node("Split", [rotated, g.ints([qSize, kvSize])], { axis: 2 }, { outputs: 2 });
    return { q, k, v };
  }
  const [q, k, v] = g.node("Split", [fused, g.ints([qSize, kvSize, kvSize])], { axis: 2 }, { outputs: 3 });
  const normed = (tensor: TensorName, name: string, count: number) => {
    const perHead = g.op("Reshape", [tensor, g.ints([0, -1, count, headDim])]);
    const scaled = matrices.norm(g, perHead, layerTensor(layer, name), headDim, rmsNormEps);
    return rotate(g.op("Reshape", [scaled, g.ints([1, -1, count * headDim])]), count);
  };
  return { q: normed(q, "q_norm", heads), k: normed(k, "k_norm", kvHeads), v };
}

/** SwiGLU: down(silu(gate(x)) · up(x)). */
function feedForward(g: GraphBuilder, config: ModelConfig, linear: Linear, x: TensorName): TensorName {
  const { intermediateSize, hiddenSize } = config;
  const both = linear(x, "gateUp", 2 * intermediateSize, hiddenSize);
  const [gate, up] = g.node("Split", [both], { axis: 1, num_outputs: 2 }, { outputs: 2 });
  const activated = g.op("Mul", [g.op("Mul", [gate, g.op("Sigmoid", [gate])]), up]);
  return linear(activated, "down", hiddenSize, intermediateSize);
}

/**
 * log softmax(logits[row])[target] for the scored rows; computed only where `score` is true.
 *
 * On the processor all rows are taken, scored or not: LogSoftmax is vectorised there, ReduceLogSumExp is not and took a
 * quarter of a scoring step. WebGPU has no LogSoftmax.
 */
function logProbabilities(g: GraphBuilder, logits: TensorName, resident: boolean, output: TensorName): TensorName {
  const scored = new GraphBuilder("scored", g);
  scored.output(resident ? lessTheirSum(scored, logits) : ofLogSoftmax(scored, logits), "float32", ["scored", 1]);
  const nothing = new GraphBuilder("nothing", g);
  const empty = nothing.initializer("no_logprobs", "float32", [0, 1], new Float32Array(0));
  nothing.output(nothing.op("Identity", [empty]), "float32", [0, 1]);
  return g.op("If", ["score"], { then_branch: scored, else_branch: nothing }, output);
}

function ofLogSoftmax(g: GraphBuilder, logits: TensorName): TensorName {
  const rows = g.op("Unsqueeze", [g.op("Cast", ["score_rows"], { to: ELEMENT_TYPES.int64 }), g.ints([1])]);
  const places = g.op("Concat", [rows, "score_targets"], { axis: 1 });
  const chosen = g.op("GatherND", [g.op("LogSoftmax", [logits], { axis: -1 }), places]);
  return g.op("Unsqueeze", [chosen, g.ints([1])]);
}

function lessTheirSum(g: GraphBuilder, logits: TensorName): TensorName {
  const rows = g.op("Gather", [logits, "score_rows"]);
  const total = g.op("ReduceLogSumExp", [rows, g.ints([1])], { keepdims: 1 });
  return g.op("Sub", [g.op("GatherElements", [rows, "score_targets"], { axis: 1 }), total]);
}
