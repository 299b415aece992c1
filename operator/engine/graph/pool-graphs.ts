import type { ModelConfig } from "../model/config-types.ts";
import { GraphBuilder, type TensorName } from "../onnx/graph-builder.ts";
import { POOL_SIDES, poolRowsInput, poolRowsOutput } from "./attention.ts";

/**
 * Copies rows of every layer's pools to other rows of the same pools, on a device: input `from [rows]`, `to [rows, 1]`
 * and the pools of {@link poolRowsInput}; outputs {@link poolRowsOutput}, to be kept where the inputs are.
 */
export function copyRowsGraph(config: ModelConfig): GraphBuilder {
  const g = new GraphBuilder("copy-rows");
  g.input("from", "int64", ["rows"]);
  g.input("to", "int64", ["rows", 1]);
  for (let layer = 0; layer < config.layers; layer++) {
    for (const side of POOL_SIDES) {
      const pool = g.input(poolRowsInput(layer, side), "float32", ["poolRows", config.headDim]);
      const copied = g.op("ScatterND", [pool, "to", g.op("Gather", [pool, "from"])], {}, poolRowsOutput(layer, side));
      g.output(copied, "float32", ["poolRows", config.headDim]);
    }
  }
  return g;
}

/** An array of adapters' factors, as rows: those of one slot are `rows` times `width` numbers. */
export interface SlotArray {
  readonly name: TensorName;
  readonly rows: number;
  readonly width: number;
}

/** Graph inputs and output of {@link fillSlotGraph} for an array. */
export function slotTensors({ name, rows }: SlotArray): Record<"pool" | "factors" | "places" | "filled", TensorName> {
  return { pool: `${name}.pool`, factors: name, places: `places.${rows}`, filled: `${name}.filled` };
}

/**
 * Writes one adapter's factors into its slot on a device: for each array its pool `[slots · rows, width]`, the factors
 * `[rows, width]`, and the pool's rows that they go to, `[rows, 1]`, shared by arrays of equally many rows. Outputs are
 * to be kept where the pools are.
 */
export function fillSlotGraph(arrays: readonly SlotArray[]): GraphBuilder {
  const g = new GraphBuilder("fill-slot");
  for (const array of arrays) {
    const { pool, factors, places, filled } = slotTensors(array);
    const { rows, width } = array;
    g.input(pool, "float32", ["poolRows", width]);
    g.input(factors, "float32", [rows, width]);
    if (!g.has(places)) g.input(places, "int64", [rows, 1]);
    g.output(g.op("ScatterND", [pool, places, factors], {}, filled), "float32", ["poolRows", width]);
  }
  return g;
}
