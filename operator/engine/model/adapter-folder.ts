import { createHash } from "node:crypto";
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { join } from "node:path";
import { type AdapterConfig, parseAdapterConfig } from "./adapter-config.ts";
import type { ModelConfig } from "./config-types.ts";
import { ModelFormatError } from "./format-error.ts";
import { CONFIG_LIMITS, parseJsonObject } from "./json-file.ts";
import { LORA_TARGETS, type LoadedAdapter, type LoraFactors, type LoraTarget, targetShape } from "./lora.ts";
import { modulePath } from "./model-weights.ts";
import { SafetensorsFile } from "./safetensors.ts";

const MAX_ADAPTER_BYTES = 4 * 2 ** 30 - 1;

/** Larger factors are refused: no trained adapter has them, and their products could overflow float32. */
const MAX_MAGNITUDE = 1e4;

const TENSOR_NAME =
  /^(?:base_model\.model\.)?(?:model\.)?layers\.(\d{1,4})\.(self_attn|mlp)\.(\w+)\.lora_([AB])(?:\.default)?\.weight$/;

/**
 * Reads a PEFT LoRA folder (`adapter_config.json`, `adapter_model.safetensors`) for a model.
 *
 * Everything that would make the answer differ from what its makers trained is an error: DoRA, biases,
 * modules_to_save, targets that the model lacks or the file does not hold, incomplete pairs, wrong shapes, values
 * that are not finite.
 *
 * Float32 factors stay where the file was read to, `lora_B` being transposed there: one buffer holds them all.
 *
 * @param knownHash the content hash, where the caller knows that these files have it: it is not computed again then
 * @throws ModelFormatError
 */
export function readAdapter(folder: string, config: ModelConfig, knownHash?: string): LoadedAdapter {
  const configPath = join(folder, "adapter_config.json");
  const weightsPath = join(folder, "adapter_model.safetensors");
  const configBytes = readBounded(configPath, CONFIG_LIMITS.maxBytes);
  const weightBytes = readBounded(weightsPath, MAX_ADAPTER_BYTES);
  const adapterConfig = parseAdapterConfig(parseJsonObject(configBytes, configPath, CONFIG_LIMITS));
  // Before the factors are taken out of these bytes, which changes them.
  const hash = knownHash ?? contentHash(configBytes, weightBytes);
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

/** Reads a file into memory of its own, which can be handed to another thread. */
function readBounded(path: string, maxBytes: number): Uint8Array<ArrayBuffer> {
  let fd: number | undefined;
  try {
    fd = openSync(path, "r");
    const stat = fstatSync(fd);
    if (!stat.isFile()) throw new ModelFormatError(path, "is not a file");
    if (stat.size > maxBytes) throw new ModelFormatError(path, `${stat.size} bytes are more than ${maxBytes}`);
    const bytes = Buffer.allocUnsafeSlow(stat.size);
    for (let done = 0; done < bytes.length; ) {
      const got = readSync(fd, bytes, done, Math.min(bytes.length - done, 1 << 30), done);
      if (got === 0) throw new ModelFormatError(path, `ends at byte ${done}`);
      done += got;
    }
    return bytes;
  } catch (error) {
    if (error instanceof ModelFormatError) throw error;
    throw new ModelFormatError(path, "cannot be read", error);
  } finally {
    if (fd !== undefined) closeSync(fd);
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
  let scratch = new Float32Array(0);
  for (const [path, { layer, target, A, B }] of pairs) {
    if (A === undefined || B === undefined) {
      throw new ModelFormatError(file.path, `${path} has lora_${A === undefined ? "B" : "A"} without its counterpart`);
    }
    if (!adapter.targets(`model.${path}`)) {
      throw new ModelFormatError(file.path, `holds ${path}, which adapter_config.json does not target`);
    }
    const { rank, scale } = adapter.scaling(`model.${path}`);
    const [outputs, inputs] = targetShape(config, target);
    const a = file.readUncheckedFloats(A, [rank, inputs]);
    const b = file.readUncheckedFloats(B, [outputs, rank]);
    if (scratch.length < b.length) scratch = new Float32Array(b.length);
    checkMagnitude(file.path, A, a, energy(a));
    checkMagnitude(file.path, B, b, transposeScaled(b, outputs, rank, scale, scratch));
    layers[layer][target] = { rank, a, b };
  }
  return layers;
}

/** Sum of squares: it bounds every magnitude without a comparison each, and NaN and infinities stay in it. */
function energy(values: Float32Array): number {
  const { length } = values;
  let [s0, s1, s2, s3] = [0, 0, 0, 0];
  let i = 0;
  for (; i + 4 <= length; i += 4) {
    s0 += values[i] * values[i];
    s1 += values[i + 1] * values[i + 1];
    s2 += values[i + 2] * values[i + 2];
    s3 += values[i + 3] * values[i + 3];
  }
  for (; i < length; i++) s0 += values[i] * values[i];
  return s0 + s1 + s2 + s3;
}

/**
 * Turns `[rows, columns]` into `[columns, rows]` times `scale`, in place, four rows at a time.
 * @param scratch at least as long as the matrix; overwritten
 * @returns sum of squares of the result, as {@link energy}
 */
function transposeScaled(matrix: Float32Array, rows: number, columns: number, scale: number, scratch: Float32Array) {
  let [s0, s1, s2, s3] = [0, 0, 0, 0];
  let row = 0;
  for (; row + 4 <= rows; row += 4) {
    for (let column = 0, from = row * columns, to = row; column < columns; column++, from++, to += rows) {
      const v0 = matrix[from] * scale;
      const v1 = matrix[from + columns] * scale;
      const v2 = matrix[from + 2 * columns] * scale;
      const v3 = matrix[from + 3 * columns] * scale;
      scratch[to] = v0;
      scratch[to + 1] = v1;
      scratch[to + 2] = v2;
      scratch[to + 3] = v3;
      s0 += v0 * v0;
      s1 += v1 * v1;
      s2 += v2 * v2;
      s3 += v3 * v3;
    }
  }
  for (; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const value = matrix[row * columns + column] * scale;
      scratch[column * rows + row] = value;
      s0 += value * value;
    }
  }
  matrix.set(scratch.subarray(0, matrix.length));
  return s0 + s1 + s2 + s3;
}

/** Looks at each value only where their sum of squares does not show already that all are small. */
function checkMagnitude(path: string, name: string, values: Float32Array, squares: number): void {
  if (squares <= MAX_MAGNITUDE ** 2) return;
  // The negated form catches NaN and infinities that the scale made.
  const bad = values.findIndex((value) => !(Math.abs(value) <= MAX_MAGNITUDE));
  if (bad >= 0) throw new ModelFormatError(path, `tensor ${name} holds ${values[bad]}, scale included`);
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
