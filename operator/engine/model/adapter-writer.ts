import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { LORA_TARGETS, type LoraTarget } from "./lora.ts";
import { modulePath } from "./model-weights.ts";
import { type FloatTensor, writeSafetensors } from "./safetensors-writer.ts";

/** Factors as they are trained: the scale alpha / rank is not inside `b`. */
export interface TrainedFactors {
  /** `[rank, inputs]`, row major. */
  readonly a: Float32Array;
  /** `[outputs, rank]`, row major. */
  readonly b: Float32Array;
}

export interface TrainedAdapter {
  readonly rank: number;
  readonly alpha: number;
  readonly targets: readonly LoraTarget[];
  /** Name or path of the base model, for the people and tools that read the folder. */
  readonly baseModel: string;
  /** Every target in every layer. */
  readonly layers: readonly Readonly<Partial<Record<LoraTarget, TrainedFactors>>>[];
}

/** Writes a PEFT LoRA folder that any PEFT-aware server loads. The same adapter gives the same bytes. */
export function writeAdapter(folder: string, adapter: TrainedAdapter): void {
  const { rank, alpha, baseModel, layers } = adapter;
  const targets = LORA_TARGETS.filter((target) => adapter.targets.includes(target));
  const tensors: FloatTensor[] = [];
  for (const [layer, factors] of layers.entries()) {
    for (const target of targets) {
      const pair = factors[target];
      if (!pair) throw new Error(`Layer ${layer} has no factors for ${target}.`);
      const prefix = `base_model.model.model.${modulePath(layer, target)}`;
      tensors.push({ name: `${prefix}.lora_A.weight`, shape: [rank, pair.a.length / rank], data: pair.a });
      tensors.push({ name: `${prefix}.lora_B.weight`, shape: [pair.b.length / rank, rank], data: pair.b });
    }
  }
  const config = {
    peft_type: "LORA",
    task_type: "CAUSAL_LM",
    base_model_name_or_path: baseModel,
    r: rank,
    lora_alpha: alpha,
    lora_dropout: 0,
    target_modules: targets,
    bias: "none",
    fan_in_fan_out: false,
    inference_mode: true,
    init_lora_weights: true,
    layers_to_transform: null,
    modules_to_save: null,
    use_dora: false,
    use_rslora: false,
    rank_pattern: {},
    alpha_pattern: {},
  };
  mkdirSync(folder, { recursive: true });
  writeSafetensors(join(folder, "adapter_model.safetensors"), tensors);
  writeFileSync(join(folder, "adapter_config.json"), `${JSON.stringify(config, null, 2)}\n`);
}
