import type { ModelConfig } from "../model/config-types.ts";
import { LORA_GROUPS, type LoraGroup, targetShape } from "../model/lora.ts";
import type { GraphBuilder, TensorName } from "../onnx/graph-builder.ts";

/** `none`: the base model only. `single`: at most one adapter per token. `blend`: several, added up. */
export type LoraKind = "none" | "single" | "blend";

/** Graph input that holds `lora_A` of a layer's group for the slots in use. */
export function factorA(layer: number, group: LoraGroup): TensorName {
  return `a.${layer}.${group}`;
}

/** Graph input that holds `lora_B` of a layer's target for the slots in use. */
export function factorB(layer: number, target: string): TensorName {
  return `b.${layer}.${target}`;
}

/** Declares the inputs that say which token goes through which slot. */
export function declareLoraInputs(g: GraphBuilder, kind: LoraKind): void {
  if (kind === "none") return;
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
 *
 * @param x `[N, inputs]`, what the matrices read
 * @param y `[N, outputs]`, what they gave
 */
export function addLora(
  g: GraphBuilder,
  config: ModelConfig,
  kind: LoraKind,
  layer: number,
  group: LoraGroup,
  x: TensorName,
  y: TensorName,
): TensorName {
  if (kind === "none") return y;
  const targets = LORA_GROUPS[group];
  const shapes = targets.map((target) => targetShape(config, target));
  const outputs = shapes.reduce((total, [size]) => total + size, 0);
  const a = g.input(factorA(layer, group), "float32", ["slots", "ranks", shapes[0][1]]);
  const b = targets.map((target, i) => g.input(factorB(layer, target), "float32", ["slots", "rank", shapes[i][0]]));
  const gathered = g.op("Gather", [x, "lora.rows"]);
  const down = g.op("Mul", [g.op("FusedMatMul", [gathered, a], { transB: 1 }), "lora.weights"]);
  const parts =
    targets.length === 1
      ? [down]
      : g.node("Split", [down], { axis: 2, num_outputs: targets.length }, { outputs: targets.length });
  const ups = parts.map((part, i) => g.op("MatMul", [part, b[i]]));
  const up = ups.length === 1 ? ups[0] : g.op("Concat", ups, { axis: 2 });
  const update = g.op("Gather", [g.op("Reshape", [up, g.ints([-1, outputs])]), "lora.places"]);
  return g.op("Add", [y, kind === "single" ? update : g.op("ReduceSum", [update, g.ints([1])], { keepdims: 0 })]);
}
