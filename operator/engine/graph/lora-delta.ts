import type { ModelConfig } from "../model/config-types.ts";
import { LORA_GROUPS, type LoraGroup, targetShape } from "../model/lora.ts";
import type { GraphBuilder, TensorName } from "../onnx/graph-builder.ts";

/**
 * How the tokens of a step use adapters.
 *
 * - `none`: not at all.
 * - `aligned`: every slot of the range by the same number of tokens, in order, with weight 1: no token needs to move.
 * - `single`: at most one adapter per token.
 * - `blend`: several adapters per token, added up.
 */
export type LoraKind = "none" | "aligned" | "single" | "blend";

/** Graph input that holds `lora_A` of a layer's group for the slots in use. */
export function factorA(layer: number, group: LoraGroup): TensorName {
  return `a.${layer}.${group}`;
}

/** Whether an input is one of {@link factorA}. */
export function isFactorA(name: TensorName): boolean {
  return name.startsWith("a.");
}

/** Graph input that holds `lora_B` of a layer's group for the slots in use. */
export function factorB(layer: number, group: LoraGroup): TensorName {
  return `b.${layer}.${group}`;
}

/**
 * How a group's `b` is cut so that one batched product serves all its targets: into chunks of equal width. A target
 * wider than the narrowest one takes several chunks.
 */
export interface GroupChunks {
  readonly width: number;
  /** For each chunk, the index of its target in the group. */
  readonly targets: readonly number[];
}

/** @throws if the widths of a group's targets are not multiples of the narrowest */
export function groupChunks(config: ModelConfig, group: LoraGroup): GroupChunks {
  const widths = LORA_GROUPS[group].map((target) => targetShape(config, target)[0]);
  const width = Math.min(...widths);
  if (widths.some((size) => size % width !== 0)) throw new Error(`Widths ${widths} of ${group} do not divide.`);
  return { width, targets: widths.flatMap((size, i) => new Array<number>(size / width).fill(i)) };
}

/** Declares the inputs that say which token goes through which slot. */
export function declareLoraInputs(g: GraphBuilder, kind: LoraKind): void {
  if (kind === "none") return;
  if (kind === "aligned") {
    g.input("lora.grid", "int64", [3]);
    return;
  }
  g.input("lora.rows", "int32", ["slots", "slotRows"]);
  g.input("lora.weights", "float32", ["slots", "slotRows", 1]);
  g.input("lora.places", "int32", kind === "single" ? ["tokens"] : ["tokens", "blend"]);
}

/**
 * Adds adapters' updates to the output of a layer's group of matrices.
 *
 * Tokens are gathered by slot (`lora.rows [slots, M]`), multiplied with every slot's factors at once and with their
 * weights (`lora.weights [slots, M, 1]`), and gathered back (`lora.places [tokens]`, or `[tokens, P]` for blends). A
 * token reads nothing but results computed from itself: other rows cannot reach it, whatever their numbers are.
 * Aligned tokens only change shape (`lora.grid` = slots, M, -1).
 *
 * @param x `[N, inputs]`, what the matrices read
 * @param y `[N, outputs]`, what they gave
 */
export function addLora(
  g: GraphBuilder,
  config: ModelConfig,
  { lora: kind, resident }: { readonly lora: LoraKind; readonly resident: boolean },
  layer: number,
  group: LoraGroup,
  x: TensorName,
  y: TensorName,
): TensorName {
  if (kind === "none") return y;
  const inputs = targetShape(config, LORA_GROUPS[group][0])[1];
  const { width, targets } = groupChunks(config, group);
  const grouped = kind === "aligned" ? g.op("Reshape", [x, "lora.grid"]) : g.op("Gather", [x, "lora.rows"]);
  const projected = project(g, grouped, factorA(layer, group), inputs, resident);
  const down = kind === "aligned" ? projected : g.op("Mul", [projected, "lora.weights"]);
  const flat = g.op("Reshape", [expand(g, down, layer, group, width, targets), g.ints([-1, width * targets.length])]);
  if (kind === "aligned") return g.op("Add", [y, flat]);
  const update = g.op("Gather", [flat, "lora.places"]);
  return g.op("Add", [y, kind === "single" ? update : g.op("ReduceSum", [update, g.ints([1])], { keepdims: 0 })]);
}

/** `[slots, M, inputs]` times every target's `a`; pools on a device have it transposed ({@link isFactorA}). */
function project(g: GraphBuilder, x: TensorName, name: TensorName, inputs: number, resident: boolean): TensorName {
  if (resident) return g.op("MatMul", [x, g.input(name, "float32", ["slots", inputs, "ranks"])]);
  return g.op("FusedMatMul", [x, g.input(name, "float32", ["slots", "ranks", inputs])], { transB: 1 });
}

/** `[slots, M, targets · rank]` times every target's `b`: `[slots, M, outputs]`. */
function expand(
  g: GraphBuilder,
  down: TensorName,
  layer: number,
  group: LoraGroup,
  width: number,
  targets: readonly number[],
): TensorName {
  const name = factorB(layer, group);
  if (targets.length === 1) return g.op("MatMul", [down, g.input(name, "float32", ["slots", "rank", width])]);
  const b = g.input(name, "float32", ["slots", targets.length, "rank", width]);
  const count = LORA_GROUPS[group].length;
  const parts = g.op("Reshape", [down, g.ints([0, 0, count, -1])]);
  const repeated = targets.length === count ? parts : g.op("Gather", [parts, g.ints(targets)], { axis: 2 });
  const perm = [0, 2, 1, 3];
  const product = g.op("MatMul", [g.op("Transpose", [repeated], { perm }), b]);
  return g.op("Transpose", [product], { perm });
}
