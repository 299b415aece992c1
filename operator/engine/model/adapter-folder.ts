import { createHash, type Hash } from "node:crypto";
import { join } from "node:path";
import { type AdapterConfig, parseAdapterConfig } from "./adapter-config.ts";
import { type Factor, planFactors, readFactors } from "./adapter-factors.ts";
import type { ModelConfig } from "./config-types.ts";
import { FileStream } from "./file-stream.ts";
import { ModelFormatError } from "./format-error.ts";
import { CONFIG_LIMITS, parseJsonObject } from "./json-file.ts";
import { LORA_TARGETS, type LoadedAdapter } from "./lora.ts";
import { modulePath } from "./model-weights.ts";
import { SafetensorsFile } from "./safetensors.ts";

const MAX_ADAPTER_BYTES = 4 * 2 ** 30 - 1;

/**
 * Reads a PEFT LoRA folder (`adapter_config.json`, `adapter_model.safetensors`) for a model.
 *
 * Everything that would make the answer differ from what its makers trained is an error: DoRA, biases,
 * modules_to_save, targets that the model lacks or the file does not hold, incomplete pairs, wrong shapes, values
 * that are not finite.
 *
 * One buffer holds all factors, so that another thread can take them over.
 *
 * @param options.knownHash the content hash, where the caller knows that these files have it: it is not computed then
 * @param options.spare memory that nobody uses any more, to read into where it has the right size
 * @throws ModelFormatError
 */
export function readAdapter(
  folder: string,
  config: ModelConfig,
  { knownHash, spare }: { knownHash?: string; spare?: ArrayBuffer } = {},
): LoadedAdapter {
  const configPath = join(folder, "adapter_config.json");
  const weightsPath = join(folder, "adapter_model.safetensors");
  const configBytes = readWhole(configPath, CONFIG_LIMITS.maxBytes);
  const adapterConfig = parseAdapterConfig(parseJsonObject(configBytes, configPath, CONFIG_LIMITS));
  const hash = knownHash === undefined ? contentHash(configBytes) : undefined;
  const weights = new FileStream(weightsPath, MAX_ADAPTER_BYTES, hash);
  try {
    const factors = planFactors(SafetensorsFile.over(weightsPath, weights), adapterConfig, config);
    checkTargets(configPath, adapterConfig, factors, config.layers);
    const layers = readFactors(weights, factors, config.layers, spare);
    const rank = Math.max(...factors.map((factor) => factor.rank));
    const bytes = factors.reduce((sum, { rows, columns }) => sum + 4 * rows * columns, 0);
    return { hash: knownHash ?? hash!.digest("hex"), rank, bytes, layers };
  } finally {
    weights.close();
  }
}

/** Content hash of an adapter folder, as {@link readAdapter} computes it. @throws ModelFormatError */
export function adapterHash(folder: string): string {
  const hash = contentHash(readWhole(join(folder, "adapter_config.json"), CONFIG_LIMITS.maxBytes));
  const weights = new FileStream(join(folder, "adapter_model.safetensors"), MAX_ADAPTER_BYTES, hash);
  try {
    const piece = new Uint8Array(1 << 20);
    while (weights.left > 0) weights.fill(piece.subarray(0, Math.min(piece.length, weights.left)));
    return hash.digest("hex");
  } finally {
    weights.close();
  }
}

/** SHA-256 over configuration and weights; the weights are still to come. */
function contentHash(config: Uint8Array): Hash {
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(config.length));
  return createHash("sha256").update(length).update(config);
}

function readWhole(path: string, maxBytes: number): Uint8Array<ArrayBuffer> {
  const stream = new FileStream(path, maxBytes);
  try {
    return stream.read(0, stream.size);
  } finally {
    stream.close();
  }
}

/** Every listed target must be there, in every layer it is meant for: a part must not pass for the whole. */
function checkTargets(path: string, adapter: AdapterConfig, factors: readonly Factor[], layers: number): void {
  if (factors.length === 0) throw new ModelFormatError(path, "the adapter changes nothing in this model");
  if (adapter.names === null) return;
  const held = new Set(factors.map(({ layer, target }) => modulePath(layer, target)));
  const matched = new Set<string>();
  for (let layer = 0; layer < layers; layer++) {
    for (const target of LORA_TARGETS) {
      const module = `model.${modulePath(layer, target)}`;
      if (!adapter.targets(module)) continue;
      for (const name of adapter.names) if (module === name || module.endsWith(`.${name}`)) matched.add(name);
      if (!held.has(modulePath(layer, target))) {
        throw new ModelFormatError(path, `targets ${module}, but the weights do not hold it`);
      }
    }
  }
  const unknown = adapter.names.find((name) => !matched.has(name));
  if (unknown !== undefined)
    throw new ModelFormatError(path, `targets ${unknown}, which matches nothing in this model`);
}
