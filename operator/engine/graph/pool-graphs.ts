import type { ModelConfig } from "../model/config-types.ts";
import { GraphBuilder, type TensorName } from "../onnx/graph-builder.ts";
import { POOL_SIDES, poolRowsInput, poolRowsOutput } from "./attention.ts";
import { isFactorA } from "./lora-delta.ts";

/**
 * Copies rows of every layer's pools to other rows of the same pools, on a device: input `from [rows]`, `to [rows, 1]`
 * and the pools of {@link poolRowsInput}; outputs {@link poolRowsOutput}, to be kept where the inputs are.
 */
export function copyRowsGraph(config: ModelConfig): GraphBuilder {
  const g = new GraphBuilder("copy-rows");
  g.input("from", "int64", ["rows"]);
  g.input("to", "int64", ["rows", 1]);
  const width = config.kvHeads * config.headDim;
  for (let layer = 0; layer < config.layers; layer++) {
    for (const side of POOL_SIDES) {
      const pool = g.input(poolRowsInput(layer, side), "float32", ["poolRows", width]);
      const copied = g.op("ScatterND", [pool, "to", g.op("Gather", [pool, "from"])], {}, poolRowsOutput(layer, side));
      g.output(copied, "float32", ["poolRows", width]);
    }
  }
  return g;
}

/** One slot's share of an array of adapters' factors on the host, `[height, width]`. */
export interface SlotArray {
  readonly name: TensorName;
  readonly height: number;
  readonly width: number;
}

/**
 * How a slot's share is cut into rows of the array on a device, all as long: ScatterND compares each row's place with
 * all others and writes a row in one thread, so neither may be many.
 */
export function slotRows({ height, width }: SlotArray): { readonly rows: number; readonly rowWidth: number } {
  let rows = 256;
  while ((height * width) % rows !== 0) rows /= 2;
  return { rows, rowWidth: (height * width) / rows };
}

/** Graph inputs and output of {@link fillSlotGraph} for an array. */
export function slotTensors(array: SlotArray): Record<"pool" | "factors" | "places" | "filled", TensorName> {
  const { name } = array;
  return { pool: `${name}.pool`, factors: name, places: `places.${slotRows(array).rows}`, filled: `${name}.filled` };
}

/**
 * Writes one adapter's factors into its slot on a device, those of {@link isFactorA} transposed. For each array: its
 * pool as rows, the factors, and the pool's rows that they go to, `[rows, 1]`, shared by arrays of equally many rows.
 * Outputs are to be kept where the pools are.
 */
export function fillSlotGraph(arrays: readonly SlotArray[]): GraphBuilder {
  const g = new GraphBuilder("fill-slot");
  for (const array of arrays) {
    const { pool, factors, places, filled } = slotTensors(array);
    const { rows, rowWidth } = slotRows(array);
    g.input(pool, "float32", ["poolRows", rowWidth]);
    g.input(factors, "float32", [array.height, array.width]);
    if (!g.has(places)) g.input(places, "int64", [rows, 1]);
    const stored = isFactorA(factors) ? g.op("Transpose", [factors], { perm: [1, 0] }) : factors;
    const cut = g.op("Reshape", [stored, g.ints([rows, rowWidth])]);
    g.output(g.op("ScatterND", [pool, places, cut], {}, filled), "float32", ["poolRows", rowWidth]);
  }
  return g;
}
