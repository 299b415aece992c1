import type { ModelConfig } from "../../engine/model/config-types.ts";
import type { LoraTarget } from "../../engine/model/lora.ts";
import { hasBias, modulePath } from "../../engine/model/model-weights.ts";
import { float, type GraphBuilder, type TensorName } from "../../engine/onnx/graph-builder.ts";

/** Rows and tokens per row of the batches that a graph takes. */
export interface BatchShape {
  readonly rows: number;
  readonly length: number;
}

/** LoRA factors of one matrix as graph inputs: y += scale · (x aᵀ) bᵀ. */
export interface LoraInputs {
  /** `[rank, inputs]` */
  readonly a: TensorName;
  /** `[outputs, rank]` */
  readonly b: TensorName;
  readonly scale: number;
}

/** What the decoder reads; every tensor is an input of the graph. */
export interface DecoderInputs {
  /** int64 `[rows * length]` */
  readonly tokens: TensorName;
  /** int64 `[rows, length]` */
  readonly positions: TensorName;
  /** `[length, headDim / 2]` */
  readonly cos: TensorName;
  readonly sin: TensorName;
  /** Added to the scores of a layer: `[heads / kvHeads * length, length]`, 0 where a token may look. */
  readonly mask: (layer: number) => TensorName;
  /** A weight of the model by its name in the model's files. */
  readonly weight: (name: string) => TensorName;
  /** Adapter factors of a matrix, if it has some. */
  readonly lora: (layer: number, target: LoraTarget) => LoraInputs | undefined;
}

/**
 * Writes the decoder as operators that can be differentiated: whole rows at once, no cache.
 *
 * @returns logits `[rows * length, vocabulary]`.
 */
export function writeDecoder(
  graph: GraphBuilder,
  config: ModelConfig,
  shape: BatchShape,
  inputs: DecoderInputs,
): TensorName {
  const { weight } = inputs;
  let hidden = graph.op("Gather", [weight("model.embed_tokens.weight"), inputs.tokens], { axis: 0 });
  for (let layer = 0; layer < config.layers; layer++) {
    const prefix = `model.layers.${layer}`;
    const norm = (x: TensorName, name: string): TensorName => rmsNorm(graph, config, x, weight(`${prefix}.${name}`));
    // Gemm's third input carries what is added anyway: the residual stream or a bias.
    const linear = (target: LoraTarget, x: TensorName, residual?: TensorName): TensorName => {
      const module = `model.${modulePath(layer, target)}`;
      const bias = hasBias(config, target) ? weight(`${module}.bias`) : undefined;
      const addend = residual ?? bias;
      const operands = [x, weight(`${module}.weight`), ...(addend === undefined ? [] : [addend])];
      let y = graph.op("Gemm", operands, { transB: 1 });
      if (residual !== undefined && bias !== undefined) y = graph.op("Add", [y, bias]);
      const lora = inputs.lora(layer, target);
      if (lora === undefined) return y;
      const reduced = graph.op("Gemm", [x, lora.a], { transB: 1 });
      return graph.op("Gemm", [reduced, lora.b, y], { transB: 1, alpha: float(lora.scale) });
    };
    const normed = norm(hidden, "input_layernorm.weight");
    const attended = writeAttention(graph, config, shape, inputs, layer, {
      q: linear("q_proj", normed),
      k: linear("k_proj", normed),
      v: linear("v_proj", normed),
    });
    hidden = linear("o_proj", attended, hidden);
    const inner = norm(hidden, "post_attention_layernorm.weight");
    const gate = linear("gate_proj", inner);
    const activated = graph.op("Mul", [graph.op("Mul", [gate, graph.op("Sigmoid", [gate])]), linear("up_proj", inner)]);
    hidden = linear("down_proj", activated, hidden);
  }
  const final = rmsNorm(graph, config, hidden, weight("model.norm.weight"));
  const head = weight(config.tiedEmbeddings ? "model.embed_tokens.weight" : "lm_head.weight");
  return graph.op("Gemm", [final, head], { transB: 1 });
}

function rmsNorm(graph: GraphBuilder, config: ModelConfig, x: TensorName, scale: TensorName): TensorName {
  const attributes = { axis: -1, epsilon: float(config.rmsNormEps), stash_type: 1 };
  // The second output, 1 / rms, is what the backward pass needs.
  return graph.node("SimplifiedLayerNormalization", [x, scale], attributes, { outputs: 2 })[0];
}

/** Query heads that share a key head are stacked along the rows, so that every product is one plain batch. */
function writeAttention(
  graph: GraphBuilder,
  config: ModelConfig,
  { rows, length }: BatchShape,
  inputs: DecoderInputs,
  layer: number,
  { q, k, v }: Record<"q" | "k" | "v", TensorName>,
): TensorName {
  const { heads, kvHeads, headDim } = config;
  const group = heads / kvHeads;
  const reshape = (x: TensorName, dims: number[]): TensorName => graph.op("Reshape", [x, graph.ints(dims)]);
  const rotate = (x: TensorName, count: number, norm: string): TensorName => {
    let y = x;
    if (config.qkNorm) {
      const scale = inputs.weight(`model.layers.${layer}.self_attn.${norm}.weight`);
      y = rmsNorm(graph, config, reshape(y, [rows, length, count, headDim]), scale);
    }
    const flat = reshape(y, [rows, length, count * headDim]);
    return graph.op("RotaryEmbedding", [flat, inputs.positions, inputs.cos, inputs.sin], { interleaved: 0 });
  };
  const perHead = (x: TensorName): TensorName =>
    graph.op("Transpose", [reshape(x, [rows, length, kvHeads, headDim])], { perm: [0, 2, 1, 3] });
  const grouped = graph.op(
    "Transpose",
    [reshape(rotate(q, heads, "q_norm"), [rows, length, kvHeads, group, headDim])],
    {
      perm: [0, 2, 3, 1, 4],
    },
  );
  const queries = reshape(grouped, [rows, kvHeads, group * length, headDim]);
  const keys = perHead(rotate(k, kvHeads, "k_norm"));
  const scores = graph.op("FusedMatMul", [queries, keys], { transB: 1, alpha: float(1 / Math.sqrt(headDim)) });
  const shares = graph.op("Softmax", [graph.op("Add", [scores, inputs.mask(layer)])], { axis: -1 });
  const mixed = graph.op("FusedMatMul", [shares, perHead(v)]);
  const back = graph.op("Transpose", [reshape(mixed, [rows, kvHeads, group, length, headDim])], {
    perm: [0, 3, 1, 2, 4],
  });
  return reshape(back, [rows * length, heads * headDim]);
}
