import type { AdapterConfig } from "./adapter-config.ts";
import type { ModelConfig } from "./config-types.ts";
import { type FactorKernels, factorKernels } from "./factor-kernels.ts";
import type { FileStream } from "./file-stream.ts";
import { ModelFormatError } from "./format-error.ts";
import { LORA_TARGETS, type LoraFactors, type LoraTarget, targetShape } from "./lora.ts";
import { modulePath } from "./model-weights.ts";
import { type SafetensorsEntry, type SafetensorsFile, toFloats } from "./safetensors.ts";

/** Larger factors are refused: no trained adapter has them, and their products could overflow float32. */
const MAX_MAGNITUDE = 1e4;
/** What is read at once: it and its transposed copy stay in a core's own cache. */
const WINDOW_BYTES = 1 << 19;
/** Memory of the kernels that is kept between two adapters. */
const KEPT_BYTES = 1 << 24;

const TENSOR_NAME =
  /^(?:base_model\.model\.)?(?:model\.)?layers\.(\d{1,4})\.(self_attn|mlp)\.(\w+)\.lora_([AB])(?:\.default)?\.weight$/;

/** One factor of one matrix, and where its numbers lie in the file. */
export interface Factor {
  readonly entry: SafetensorsEntry;
  readonly layer: number;
  readonly target: LoraTarget;
  readonly side: "A" | "B";
  readonly rank: number;
  /** In the file. */
  readonly rows: number;
  readonly columns: number;
  /** What the numbers are multiplied with. */
  readonly scale: number;
}

type Layer = Partial<Record<LoraTarget, LoraFactors>>;

/**
 * Which tensor of a file is which factor, in the order of the file.
 * @throws ModelFormatError where one is foreign, doubled, alone, misshapen or not meant by the configuration
 */
export function planFactors(file: SafetensorsFile, adapter: AdapterConfig, config: ModelConfig): Factor[] {
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
  const factors: Factor[] = [];
  for (const [path, { layer, target, A, B }] of pairs) {
    if (A === undefined || B === undefined) {
      throw new ModelFormatError(file.path, `${path} has lora_${A === undefined ? "B" : "A"} without its counterpart`);
    }
    if (!adapter.targets(`model.${path}`)) {
      throw new ModelFormatError(file.path, `holds ${path}, which adapter_config.json does not target`);
    }
    const { rank, scale } = adapter.scaling(`model.${path}`);
    const [outputs, inputs] = targetShape(config, target);
    const add = (name: string, side: "A" | "B", rows: number, columns: number) => {
      const entry = file.entry(name, [rows, columns]);
      factors.push({ entry, layer, target, side, rank, rows, columns, scale: side === "A" ? 1 : scale });
    };
    add(A, "A", rank, inputs);
    add(B, "B", outputs, rank);
  }
  return factors.sort((a, b) => a.entry.start - b.entry.start);
}

/** Each thread has its own, made when it first reads an adapter. */
let kernels: FactorKernels | undefined;

/**
 * Reads all factors into one buffer, `lora_B` transposed and scaled.
 *
 * The file passes through a small window: bytes come from the system, are checked and turned around while they are in
 * the core's cache, and go once to where they stay.
 *
 * @param factors in the order of the file, which holds nothing else
 * @param spare memory that nobody uses any more; taken where it is just as large as what is needed
 * @throws ModelFormatError on values that are not finite or too large
 */
export function readFactors(
  weights: FileStream,
  factors: readonly Factor[],
  layers: number,
  spare?: ArrayBuffer,
): Layer[] {
  const counts = factors.map(({ rows, columns }) => rows * columns);
  const largest = 4 * Math.max(...counts);
  const window = Math.max(WINDOW_BYTES, ...factors.map(({ entry }) => entry.end - entry.start));
  const { memory } = (kernels ??= factorKernels());
  const missing = window + 16 + 2 * largest - memory.buffer.byteLength;
  if (missing > 0) memory.grow(Math.ceil(missing / 65_536));
  const floats = counts.reduce((sum, count) => sum + count, 0);
  // Every float is written below. Memory that was in use before is at hand; the kernel has to find and clear other.
  const fits = spare?.byteLength === 4 * floats;
  const all = new Float32Array(fits ? spare : Buffer.allocUnsafeSlow(4 * floats).buffer);
  const found = Array.from({ length: layers }, (): Partial<Record<LoraTarget, Partial<LoraFactors>>> => ({}));
  let at = 0;
  for (let first = 0, next = 0; first < factors.length; first = next) {
    const { start } = factors[first].entry;
    while (next < factors.length && factors[next].entry.end - start <= window) next++;
    // Float32 tensors that lie at multiples of four in the file do so in memory.
    const bytes = new Uint8Array(memory.buffer, start % 4, factors[next - 1].entry.end - start);
    weights.fill(bytes);
    for (let i = first; i < next; i++) {
      const { entry, layer, target, side, rank } = factors[i];
      const values = toFloats(weights.path, entry, bytes.subarray(entry.start - start, entry.end - start));
      const placed = all.subarray(at, at + counts[i]);
      at += counts[i];
      const squares = place(kernels, values, window + 16, window + 16 + largest, factors[i], placed);
      checkMagnitude(weights.path, entry.name, placed, squares);
      found[layer][target] = { ...found[layer][target], rank, [side === "A" ? "a" : "b"]: placed };
    }
  }
  if (memory.buffer.byteLength > KEPT_BYTES) kernels = undefined;
  return found as Layer[];
}

/** Puts a tensor's values where they stay, `lora_B` transposed and scaled. @returns the sum of their squares */
function place(
  { memory, energy, transpose }: FactorKernels,
  values: Float32Array,
  converted: number,
  transposed: number,
  { side, rows, columns, scale }: Factor,
  target: Float32Array,
): number {
  const count = values.length;
  const divides = side === "A" ? count % 16 === 0 : rows % 4 === 0 && columns % 4 === 0;
  if (!divides) return placeAny(values, side === "A" ? 1 : rows, scale, target);
  let from = values.byteOffset;
  if (values.buffer !== memory.buffer) {
    from = converted;
    new Float32Array(memory.buffer, from, count).set(values);
  }
  if (side === "A") {
    target.set(values);
    return energy(from, count);
  }
  const squares = transpose(from, transposed, rows, columns, scale);
  target.set(new Float32Array(memory.buffer, transposed, count));
  return squares;
}

/** {@link place} for shapes that vectors of four do not divide. */
function placeAny(values: Float32Array, rows: number, scale: number, target: Float32Array): number {
  const columns = values.length / rows;
  let squares = 0;
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const value = Math.fround(values[row * columns + column] * scale);
      target[column * rows + row] = value;
      squares += value * value;
    }
  }
  return squares;
}

/** Looks at each value only where their sum of squares does not show already that all are small. */
function checkMagnitude(path: string, name: string, values: Float32Array, squares: number): void {
  if (squares <= MAX_MAGNITUDE ** 2) return;
  // The negated form catches NaN and infinities that the scale made.
  const bad = values.findIndex((value) => !(Math.abs(value) <= MAX_MAGNITUDE));
  if (bad >= 0) throw new ModelFormatError(path, `tensor ${name} holds ${values[bad]}, scale included`);
}
