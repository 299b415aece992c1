import type { ModelConfig } from "../model/config-types.ts";
import { float, type GraphBuilder, type TensorName } from "../onnx/graph-builder.ts";

/**
 * - `decode`: one token per row. Plain operators over the gathered blocks: at 2,048 cached tokens and batch 8 a third
 *   of the time of the fused operator, which copies the cache.
 * - `ragged`: rows of different lengths, padded to the longest.
 * - `flash`: one row of many tokens with the fused operator, whose memory does not grow with their product. On the
 *   processor only.
 */
export type AttentionKind = "decode" | "ragged" | "flash";

export const POOL_SIDES = ["keys", "values"] as const;
export type PoolSide = (typeof POOL_SIDES)[number];

/** Graph input that holds the pool of a layer's keys or values. */
export function poolInput(layer: number, side: PoolSide): TensorName {
  return `${side}.${layer}`;
}

/** Graph input of the same memory on a device seen as rows, one for each position. */
export function poolRowsInput(layer: number, side: PoolSide): TensorName {
  return `${side}.${layer}.rows`;
}

/** Graph output of a pool that holds the new rows; it lies where {@link poolRowsInput} does. */
export function poolRowsOutput(layer: number, side: PoolSide): TensorName {
  return `${side}.${layer}.stored`;
}

/** Graph input of the additive mask for layers with this window. */
export function maskInput(window: number | null): TensorName {
  return window === null ? "mask" : `mask.${window}`;
}

/**
 * Declares what the attention of every layer reads.
 * @param resident for pools on a device; the masks are made there, from the lengths of rows
 */
export function declareAttentionInputs(
  g: GraphBuilder,
  config: ModelConfig,
  kind: AttentionKind,
  resident: boolean,
): void {
  // On the host, block ids times key-value heads, so that one Gather gives keys in the order the products want.
  g.input("table", "int32", resident ? ["rows", "rowBlocks"] : ["rows", config.kvHeads, "rowBlocks"]);
  if (kind === "flash") {
    g.input("row_shape", "int64", [3]);
    g.input("last_position", "int32", ["rows"]);
    g.input("longest", "int32", []);
    return;
  }
  g.input("past_new", "int64", [2]);
  if (kind === "ragged") {
    g.input("padded", "int32", ["rows", "width"]);
    g.input("unpadded", "int32", ["tokens"]);
    g.input("score_shape", "int64", [4]);
    g.input("head_shape", "int64", [4]);
  }
  if (resident) {
    makeMasks(g, config);
    return;
  }
  for (const window of new Set(config.windows)) {
    g.input(maskInput(window), "float32", ["rows", 1, "width", "positions"]);
  }
}

/** Far below any score, and far from infinity: a row with nothing to attend to stays finite. */
export const HIDDEN = -1e30;

/**
 * Additive masks over cached and new positions, as `raggedMask` makes them on the host, for tokens that are there; what
 * padding sees does not matter. A mask is as large as the cached tokens of all rows, the lengths are not.
 *
 * Positions are whole numbers in float32, exact up to 2^24.
 */
function makeMasks(g: GraphBuilder, config: ModelConfig): void {
  const past = g.input("past", "float32", ["rows", 1, 1, 1]);
  const [cached, columns] = ["cached", "columns"].map((name) => g.input(name, "float32", []));
  const [zero, one, hidden] = [0, 1, HIDDEN].map((value) => g.scalar(value));
  const column = g.op("Range", [zero, columns, one]);
  const isNew = g.op("Where", [g.op("Less", [column, cached]), zero, one]);
  const offset = g.op("Sub", [column, g.op("Mul", [isNew, cached])]);
  const key = g.op("Add", [offset, g.op("Mul", [isNew, past])]);
  const query = g.op("Add", [past, g.input("order", "float32", ["width", 1])]);
  // Cached columns at and after a row's past hold nothing of it; new ones always count.
  const filled = g.op("Less", [offset, g.op("Add", [past, g.op("Mul", [isNew, columns])])]);
  const hide = (condition: TensorName) => g.op("Where", [condition, zero, hidden]);
  const later = g.op("Where", [g.op("Less", [query, key]), hidden, zero]);
  const causal = g.op("Add", [hide(filled), later]);
  for (const window of new Set(config.windows)) {
    const terms =
      window === null ? [causal, zero] : [causal, hide(g.op("Less", [query, g.op("Add", [key, g.scalar(window)])]))];
    g.op("Add", terms, {}, maskInput(window));
  }
}

/**
 * Writes the tokens' keys and values into pools on a device, in place: row `places[i]` gets those of token i. Whether
 * attention reads before or after makes no difference: what is new is hidden from it by the mask.
 *
 * @param k `[1, N, kvHeads · headDim]`, rotated
 * @param v `[1, N, kvHeads · headDim]`
 */
export function storeInPools(g: GraphBuilder, config: ModelConfig, layer: number, k: TensorName, v: TensorName): void {
  const width = config.kvHeads * config.headDim;
  for (const side of POOL_SIDES) {
    const pool = g.input(poolRowsInput(layer, side), "float32", ["poolRows", width]);
    const rows = g.op("Reshape", [side === "keys" ? k : v, g.ints([-1, width])]);
    const stored = g.op("ScatterND", [pool, "places", rows], {}, poolRowsOutput(layer, side));
    g.output(stored, "float32", ["poolRows", width]);
  }
}

export interface AttentionResult {
  /** `[N, heads · headDim]` */
  output: TensorName;
  /**
   * New keys and values. flash: `[1, N, kvHeads · headDim]`; others: `[rows, kvHeads, width, headDim]`, resident keys
   * with the last two axes exchanged.
   */
  keys: TensorName;
  values: TensorName;
}

/**
 * Attention over the cached blocks and the new tokens.
 *
 * @param q `[1, N, heads · headDim]`, rotated
 * @param k `[1, N, kvHeads · headDim]`, rotated
 * @param v `[1, N, kvHeads · headDim]`
 */
export function attention(
  g: GraphBuilder,
  config: ModelConfig,
  kind: AttentionKind,
  layer: number,
  q: TensorName,
  k: TensorName,
  v: TensorName,
  resident: boolean,
): AttentionResult {
  const past = resident ? devicePast(g, config, layer) : hostPast(g, config, layer);
  const run = { decode, ragged, flash }[kind];
  return run(g, config, layer, q, k, v, past, resident);
}

/** Cached keys and values of the step's rows, each `[rows, kvHeads, positions, headDim]`. */
function hostPast(g: GraphBuilder, { kvHeads, headDim }: ModelConfig, layer: number): TensorName[] {
  return POOL_SIDES.map((side) => {
    const pool = g.input(poolInput(layer, side), "float32", ["poolBlocks", "blockSize", headDim]);
    return g.op("Reshape", [g.op("Gather", [pool, "table"]), g.ints([0, kvHeads, -1, headDim])]);
  });
}

/**
 * The same out of pools that have a position's heads together, where storing a token is one row; keys come transposed.
 */
function devicePast(g: GraphBuilder, { kvHeads, headDim }: ModelConfig, layer: number): TensorName[] {
  return POOL_SIDES.map((side) => {
    const pool = g.input(poolInput(layer, side), "float32", ["poolBlocks", "blockSize", kvHeads, headDim]);
    const rows = g.op("Reshape", [g.op("Gather", [pool, "table"]), g.ints([0, -1, kvHeads, headDim])]);
    return g.op("Transpose", [rows], { perm: side === "keys" ? TRANSPOSED_KEYS : HEADS_FIRST });
  });
}

/** From `[rows, positions, kvHeads, headDim]`. */
const HEADS_FIRST = [0, 2, 1, 3];
const TRANSPOSED_KEYS = [0, 2, 3, 1];

function flash(
  g: GraphBuilder,
  config: ModelConfig,
  layer: number,
  q: TensorName,
  k: TensorName,
  v: TensorName,
  past: TensorName[],
): AttentionResult {
  const { heads, kvHeads, headDim, windows } = config;
  const [q3, k3, v3] = [q, k, v].map((tensor) => g.op("Reshape", [tensor, "row_shape"]));
  // Three outputs although one is used: with fewer the operator gives wrong numbers.
  const [attended] = g.node(
    "GroupQueryAttention",
    [q3, k3, v3, past[0], past[1], "last_position", "longest"],
    {
      num_heads: heads,
      kv_num_heads: kvHeads,
      scale: float(1 / Math.sqrt(headDim)),
      local_window_size: windows[layer] ?? -1,
    },
    { outputs: 3 },
  );
  return { output: g.op("Reshape", [attended, g.ints([-1, heads * headDim])]), keys: k, values: v };
}

function decode(
  g: GraphBuilder,
  config: ModelConfig,
  layer: number,
  q: TensorName,
  k: TensorName,
  v: TensorName,
  past: TensorName[],
  resident: boolean,
): AttentionResult {
  const { heads, kvHeads, headDim, windows } = config;
  const queries = g.op("Reshape", [q, g.ints([-1, kvHeads, heads / kvHeads, headDim])]);
  const values = g.op("Reshape", [v, g.ints([-1, kvHeads, 1, headDim])]);
  const keys = g.op("Reshape", [k, g.ints(resident ? [-1, kvHeads, headDim, 1] : [-1, kvHeads, 1, headDim])]);
  const masked = g.op("Add", [scores(g, config, queries, past[0], keys, resident), maskInput(windows[layer])]);
  const mixed = mix(g, g.op("Softmax", [masked], { axis: -1 }), past[1], values);
  return { output: g.op("Reshape", [mixed, g.ints([-1, heads * headDim])]), keys, values };
}

function ragged(
  g: GraphBuilder,
  config: ModelConfig,
  layer: number,
  q: TensorName,
  k: TensorName,
  v: TensorName,
  past: TensorName[],
  resident: boolean,
): AttentionResult {
  const { heads, kvHeads, headDim, windows } = config;
  const group = heads / kvHeads;
  const pad = (x: TensorName, shape: number[], perm: number[]) => {
    const flat = g.op("Reshape", [x, g.ints([-1, shape.slice(2).reduce((a, b) => a * b, 1)])]);
    const rows = g.op("Reshape", [g.op("Gather", [flat, "padded"]), g.ints(shape)]);
    return g.op("Transpose", [rows], { perm });
  };
  const grouped = pad(q, [0, 0, kvHeads, group, headDim], [0, 2, 3, 1, 4]);
  const queries = g.op("Reshape", [grouped, g.ints([0, kvHeads, -1, headDim])]);
  const keys = pad(k, [0, 0, kvHeads, headDim], resident ? TRANSPOSED_KEYS : HEADS_FIRST);
  const values = pad(v, [0, 0, kvHeads, headDim], HEADS_FIRST);
  const perHead = g.op("Reshape", [scores(g, config, queries, past[0], keys, resident), "score_shape"]);
  const masked = g.op("Add", [perHead, maskInput(windows[layer])]);
  const shares = g.op("Reshape", [g.op("Softmax", [masked], { axis: -1 }), "head_shape"]);
  const split = g.op("Reshape", [mix(g, shares, past[1], values), g.ints([0, kvHeads, group, -1, headDim])]);
  const ordered = g.op("Transpose", [split], { perm: [0, 3, 1, 2, 4] });
  const flat = g.op("Reshape", [ordered, g.ints([-1, heads * headDim])]);
  return { output: g.op("Gather", [flat, "unpadded"]), keys, values };
}

/** Scaled products with cached and new keys: `[rows, kvHeads, queries, cached + new]`. */
function scores(
  g: GraphBuilder,
  config: ModelConfig,
  queries: TensorName,
  cached: TensorName,
  fresh: TensorName,
  resident: boolean,
): TensorName {
  const scale = 1 / Math.sqrt(config.headDim);
  if (resident) {
    // WebGPU has no FusedMatMul: it would run on the processor, and the cache would cross at every layer.
    const scaled = g.op("Mul", [queries, g.scalar(scale)]);
    return g.op("Concat", [g.op("MatMul", [scaled, cached]), g.op("MatMul", [scaled, fresh])], { axis: 3 });
  }
  const product = { transB: 1, alpha: float(scale) };
  const parts = [cached, fresh].map((keys) => g.op("FusedMatMul", [queries, keys], product));
  return g.op("Concat", parts, { axis: 3 });
}

/** Cached and new values, mixed by their shares. */
function mix(g: GraphBuilder, shares: TensorName, cached: TensorName, fresh: TensorName): TensorName {
  const [onCached, onFresh] = g.node("Split", [shares, "past_new"], { axis: 3 }, { outputs: 2 });
  return g.op("Add", [g.op("MatMul", [onCached, cached]), g.op("MatMul", [onFresh, fresh])]);
}
