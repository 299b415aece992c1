import type { ModelConfig } from "../model/config-types.ts";
import { LORA_GROUPS, type LoraGroup, targetShape } from "../model/lora.ts";
import type { GraphBuilder, TensorName } from "../onnx/graph-builder.ts";

/** Graph input that holds `lora_A` of a layer's group for the slots in use. */
export function factorA(layer: number, group: LoraGroup): TensorName {
  return `a.${layer}.${group}`;
}

/** Graph input that holds `lora_B` of a layer's target for the slots in use. */
export function factorB(layer: number, target: string): TensorName {
  return `b.${layer}.${target}`;
}

/**
 * Adds adapters' updates to the output of a layer's group of matrices.
 *
 * Tokens are gathered by slot (`lora.rows [slots, M]`), multiplied with every slot's factors at once, and gathered
 * back (`lora.places [N, P]`) with their weights (`lora.weights [N, 1, P]`, P adapters per token at most). A token
 * reads nothing but results computed from itself: other rows cannot reach it, whatever their numbers are.
 *
 * @param x `[N, inputs]`, what the matrices read
 * @param y `[N, outputs]`, what they gave
 */
export function addLora(
  g: GraphBuilder,
  config: ModelConfig,
  layer: number,
  group: LoraGroup,
  x: TensorName,
  y: TensorName,
): TensorName {
  const targets = LORA_GROUPS[group];
  const shapes = targets.map((target) => targetShape(config, target));
  const outputs = shapes.reduce((total, [size]) => total + size, 0);
  const a = g.input(factorA(layer, group), "float32", ["slots", "ranks", shapes[0][1]]);
  const b = targets.map((target, i) => g.input(factorB(layer, target), "float32", ["slots", "rank", shapes[i][0]]));
  const gathered = g.op("Gather", [x, "lora.rows"]);
  const down = g.op("FusedMatMul", [gathered, a], { transB: 1 });
  const parts =
    targets.length === 1
      ? [down]
      : g.node("Split", [down], { axis: 2, num_outputs: targets.length }, { outputs: targets.length });
  const ups = parts.map((part, i) => g.op("MatMul", [part, b[i]]));
  const up = ups.length === 1 ? ups[0] : g.op("Concat", ups, { axis: 2 });
  const places = g.op("Gather", [g.op("Reshape", [up, g.ints([-1, outputs])]), "lora.places"]);
  const blended = g.op("MatMul", ["lora.weights", places]);
  return g.op("Add", [y, g.op("Reshape", [blended, g.ints([-1, outputs])])]);
}

/** Declares the inputs that say which token uses which slot. */
export function declareLoraInputs(g: GraphBuilder): void {
  g.input("lora.rows", "int32", ["slots", "slotRows"]);
  g.input("lora.places", "int32", ["tokens", "blend"]);
  g.input("lora.weights", "float32", ["tokens", 1, "blend"]);
}
