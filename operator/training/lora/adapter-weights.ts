import { join } from "node:path";
import { type TrainedFactors, writeAdapter } from "../../engine/model/adapter-writer.ts";
import type { ModelConfig } from "../../engine/model/config-types.ts";
import { LORA_TARGETS, type LoraTarget } from "../../engine/model/lora.ts";
import { SafetensorsFile } from "../../engine/model/safetensors.ts";
import type { ParameterValues } from "../gradient-session.ts";
import { type LoraPlan, loraNames, loraShapes } from "../graph/training-graph.ts";
import { ParameterLayout } from "../parameters.ts";
import { seeded } from "../random.ts";

/**
 * Factors that change nothing yet: a uniform within ±1/sqrt(inputs), as PEFT starts them (Kaiming uniform with
 * a = sqrt(5)), and b zero (Hu et al. 2021, §4.1).
 */
export function initialFactors(config: ModelConfig, plan: LoraPlan, seed: number): ParameterValues {
  const layout = new ParameterLayout(loraShapes(config, plan));
  const values = new Float32Array(layout.size);
  for (const { name, shape, offset, size } of layout.parameters) {
    if (!name.endsWith("lora_A.weight")) continue;
    const random = seeded(seed, name);
    const bound = 1 / Math.sqrt(shape[1]);
    for (let i = offset; i < offset + size; i++) values[i] = bound * (2 * random.next() - 1);
  }
  return { layout, values };
}

/** Writes the factors as a PEFT folder. */
export function saveFactors(
  folder: string,
  config: ModelConfig,
  plan: LoraPlan,
  baseModel: string,
  { layout, values }: ParameterValues,
): void {
  const layers = Array.from({ length: config.layers }, (_, layer) => {
    const factors: Partial<Record<LoraTarget, TrainedFactors>> = {};
    for (const target of LORA_TARGETS) {
      if (!plan.targets.includes(target)) continue;
      const { a, b } = loraNames(layer, target);
      factors[target] = { a: layout.view(values, a), b: layout.view(values, b) };
    }
    return factors;
  });
  writeAdapter(folder, { rank: plan.rank, alpha: plan.alpha, targets: plan.targets, baseModel, layers });
}

/** Reads the factors of a PEFT folder that {@link saveFactors} wrote, as they were trained. @throws ModelFormatError */
export function loadFactors(folder: string, config: ModelConfig, plan: LoraPlan): ParameterValues {
  const layout = new ParameterLayout(loraShapes(config, plan));
  const values = new Float32Array(layout.size);
  const file = SafetensorsFile.open(join(folder, "adapter_model.safetensors"));
  try {
    for (const { name, shape } of layout.parameters) layout.view(values, name).set(file.readFloats(name, shape));
  } finally {
    file.close();
  }
  return { layout, values };
}
