import type { ModelConfig } from "./config-types.ts";

/** Matrices of a layer that an adapter may change, in the order in which they stand in the model. */
export const LORA_TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"] as const;
export type LoraTarget = (typeof LORA_TARGETS)[number];

/** Targets that read the same activations and so share one pass over the input. */
export const LORA_GROUPS = {
  qkv: ["q_proj", "k_proj", "v_proj"],
  o: ["o_proj"],
  gateUp: ["gate_proj", "up_proj"],
  down: ["down_proj"],
} as const satisfies Record<string, readonly LoraTarget[]>;
export type LoraGroup = keyof typeof LORA_GROUPS;

/** Low-rank factors of one matrix: its output gains `x · aᵀ · b`, with the adapter's scale already inside `b`. */
export interface LoraFactors {
  readonly rank: number;
  /** `[rank, inputs]`, row major. */
  readonly a: Float32Array;
  /**
   * `[rank, outputs]`, row major: PEFT's `lora_B` transposed (few tokens multiply faster with it that way), times
   * alpha / rank (or alpha / sqrt(rank) for rsLoRA).
   */
  readonly b: Float32Array;
}

/**
 * An adapter in host memory, checked against the model it was read for: shapes fit, values are finite and far from
 * overflowing.
 */
export interface LoadedAdapter {
  /** Hex SHA-256 over configuration and weights: names are never keys, contents are. */
  readonly hash: string;
  /** Largest rank of any of its matrices. */
  readonly rank: number;
  /** Host memory taken, in bytes. */
  readonly bytes: number;
  /** Per layer, the matrices that it changes. */
  readonly layers: readonly Readonly<Partial<Record<LoraTarget, LoraFactors>>>[];
}

/** `[outputs, inputs]` of a target's matrix. */
export function targetShape(config: ModelConfig, target: LoraTarget): [outputs: number, inputs: number] {
  const attention = config.heads * config.headDim;
  const kv = config.kvHeads * config.headDim;
  switch (target) {
    case "q_proj":
      return [attention, config.hiddenSize];
    case "k_proj":
    case "v_proj":
      return [kv, config.hiddenSize];
    case "o_proj":
      return [config.hiddenSize, attention];
    case "gate_proj":
    case "up_proj":
      return [config.intermediateSize, config.hiddenSize];
    case "down_proj":
      return [config.hiddenSize, config.intermediateSize];
  }
}
