import { createHash } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { type AdapterConfig, parseAdapterConfig } from "./adapter-config.ts";
import type { ModelConfig } from "./config-types.ts";
import { ModelFormatError } from "./format-error.ts";
import { CONFIG_LIMITS, parseJsonObject } from "./json-file.ts";
import { LORA_TARGETS, type LoadedAdapter, type LoraFactors, type LoraTarget, targetShape } from "./lora.ts";
import { modulePath } from "./model-weights.ts";
import { SafetensorsFile } from "./safetensors.ts";

/** Larger factors are refused: no trained adapter has them, and their products could overflow float32. */
const MAX_MAGNITUDE = 1e4;
const MAX_ADAPTER_BYTES = 4 * 2 ** 30 - 1;

const TENSOR_NAME =
  /^(?:base_model\.model\.)?(?:model\.)?layers\.(\d{1,4})\.(self_attn|mlp)\.(\w+)\.lora_([AB])(?:\.default)?\.weight$/;

/**
 * Reads a PEFT LoRA folder (`adapter_config.json`, `adapter_model.safetensors`) for a model.
 *
 * Everything that would make the answer differ from what its makers trained is an error: DoRA, biases,
 * modules_to_save, targets that the model lacks or the file does not hold, incomplete pairs, wrong shapes, values
 * that are not finite.
 *
 * @throws ModelFormatError
 */
export function readAdapter(folder: string, config: ModelConfig): LoadedAdapter {
  const configPath = join(folder, "adapter_config.json");
  const weightsPath = join(folder, "adapter_model.safetensors");
  const configBytes = readBounded(configPath, CONFIG_LIMITS.maxBytes);
  const weightBytes = readBounded(weightsPath, MAX_ADAPTER_BYTES);
  const adapterConfig = parseAdapterConfig(parseJsonObject(configBytes, configPath, CONFIG_LIMITS));
  const hash = contentHash(configBytes, weightBytes);
  const layers = readFactors(SafetensorsFile.parse(weightsPath, weightBytes), adapterConfig, config);
  checkTargets(configPath, adapterConfig, layers);
  let rank = 0;
  let bytes = 0;
  for (const factors of layers.flatMap((layer) => Object.values(layer))) {
    rank = Math.max(rank, factors.rank);
    bytes += factors.a.byteLength + factors.b.byteLength;
  }
  return { hash, rank, bytes, layers };
}

/** Content hash of an adapter folder, as {@link readAdapter} computes it. @throws ModelFormatError */
export function adapterHash(folder: string): string {
  const config = readBounded(join(folder, "adapter_config.json"), CONFIG_LIMITS.maxBytes);
  return contentHash(config, readBounded(join(folder, "adapter_model.safetensors"), MAX_ADAPTER_BYTES));
}

function contentHash(config: Uint8Array, weights: Uint8Array): string {
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(config.length));
  return createHash("sha256").update(length).update(config).update(weights).digest("hex");
}

function readBounded(path: string, maxBytes: number): Uint8Array<ArrayBuffer> {
  try {
    const { size } = statSync(path);
    if (size > maxBytes) throw new ModelFormatError(path, `${size} bytes are more than ${maxBytes}`);
    return readFileSync(path);
  } catch (error) {
    if (error instanceof ModelFormatError) throw error;
    throw new ModelFormatError(path, "cannot be read", error);
  }
}

type MutableLayer = Partial<Record<LoraTarget, LoraFactors>>;

function readFactors(file: SafetensorsFile, adapter: AdapterConfig, config: ModelConfig): MutableLayer[] {
  const layers: MutableLayer[] = Array.from({ length: config.layers }, () => ({}));
  const pairs = new Map<string, { layer: number; target: LoraTarget; A?: string; B?: string }>();
  for (const name of file.entries.keys()) {
    const match = TENSOR_NAME.exec(name);
    const target = match?.[3] as LoraTarget | undefined;
    if (!match || !target || !LORA_TARGETS.includes(target)) {
      throw new ModelFormatError(file.path, `tensor ${name} is not a LoRA factor of a matrix that can be adapted`);
    }
    const layer = Number(match[1]);
    const path = modulePath(layer, target);
    if (layer >= config.layers || !path.includes(match[2])) {
      throw new ModelFormatError(file.path, `tensor ${name}: the model has ${config.layers} layers and no such module`);
    }
    const pair = pairs.get(path) ?? { layer, target };
    const side = match[4] as "A" | "B";
    if (pair[side] !== undefined) throw new ModelFormatError(file.path, `tensor ${name} stands twice`);
    pair[side] = name;
    pairs.set(path, pair);
  }
  for (const [path, { layer, target, A, B }] of pairs) {
    if (A === undefined || B === undefined) {
      throw new ModelFormatError(file.path, `${path} has lora_${A === undefined ? "B" : "A"} without its counterpart`);
    }
    if (!adapter.targets(`model.${path}`)) {
      throw new ModelFormatError(file.path, `holds ${path}, which adapter_config.json does not target`);
    }
    const { rank, scale } = adapter.scaling(`model.${path}`);
    const [outputs, inputs] = targetShape(config, target);
    const a = file.readFloats(A, [rank, inputs]);
    const b = scaledTranspose(file.readFloats(B, [outputs, rank]), outputs, rank, scale);
    checkMagnitude(file.path, A, a);
    checkMagnitude(file.path, B, b);
    layers[layer][target] = { rank, a, b };
  }
  return layers;
}

function scaledTranspose(source: Float32Array, rows: number, columns: number, scale: number): Float32Array {
  const out = new Float32Array(source.length);
  for (let column = 0; column < columns; column++) {
    for (let row = 0, at = column * rows; row < rows; row++) out[at + row] = source[row * columns + column] * scale;
  }
  return out;
}

function checkMagnitude(path: string, name: string, values: Float32Array): void {
  for (let i = 0; i < values.length; i++) {
    // The negated form catches NaN and infinities that the scale made.
    if (!(Math.abs(values[i]) <= MAX_MAGNITUDE)) {
      throw new ModelFormatError(path, `tensor ${name} holds ${values[i]} at element ${i}, scale included`);
    }
  }
}

/** Every listed target must be there, in every layer it is meant for: a part must not pass for the whole. */
function checkTargets(path: string, adapter: AdapterConfig, layers: readonly MutableLayer[]): void {
  if (layers.every((layer) => Object.keys(layer).length === 0)) {
    throw new ModelFormatError(path, "the adapter changes nothing in this model");
  }
  if (adapter.names === null) return;
  const matched = new Set<string>();
  for (const [index, layer] of layers.entries()) {
    for (const target of LORA_TARGETS) {
      const module = `model.${modulePath(index, target)}`;
      if (!adapter.targets(module)) continue;
      for (const name of adapter.names) if (module === name || module.endsWith(`.${name}`)) matched.add(name);
      if (!layer[target]) throw new ModelFormatError(path, `targets ${module}, but the weights do not hold it`);
    }
  }
  const unknown = adapter.names.find((name) => !matched.has(name));
  if (unknown !== undefined)
    throw new ModelFormatError(path, `targets ${unknown}, which matches nothing in this model`);
}
