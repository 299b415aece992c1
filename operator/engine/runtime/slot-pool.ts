import { factorA, factorB, groupChunks } from "../graph/lora-delta.ts";
import type { ModelConfig } from "../model/config-types.ts";
import { LORA_GROUPS, type LoadedAdapter, type LoraGroup, type LoraTarget, targetShape } from "../model/lora.ts";
import { Arena } from "./arena.ts";
import type { HostTensor } from "./session.ts";

/** All slots' share of one factor of one layer's group. */
interface FactorArray {
  readonly input: string;
  readonly layer: number;
  readonly side: "a" | "b";
  /** One slot: parts of `[maxRank, width]`. */
  readonly parts: readonly FactorPart[];
  readonly width: number;
  readonly data: Float32Array;
}

/** Part of a slot that holds columns `column` to `column + width - 1` of a target's factor. */
interface FactorPart {
  readonly target: LoraTarget;
  readonly column: number;
}

/**
 * Adapters' factors, two arrays for each layer and group: `a [slots, targets · maxRank, inputs]` and
 * `b [slots, chunks, maxRank, width]` (chunks: {@link groupChunks}). A run reads a contiguous range of slots, in place.
 */
export class SlotPool {
  readonly slots: number;
  readonly maxRank: number;
  readonly bytes: number;
  private readonly config: ModelConfig;
  private readonly arrays: readonly FactorArray[];
  private readonly loaded: boolean[];

  constructor(config: ModelConfig, slots: number, maxRank: number) {
    this.config = config;
    this.slots = slots;
    this.maxRank = maxRank;
    this.loaded = new Array<boolean>(slots).fill(false);
    const layouts = Array.from({ length: config.layers }, (_, layer) => factorLayouts(config, layer)).flat();
    const sizes = layouts.map(({ parts, width }) => slots * parts.length * maxRank * width);
    const floats = sizes.reduce((total, size) => total + size, 0);
    const arena = new Arena(floats);
    this.bytes = floats * 4;
    this.arrays = layouts.map((layout, i) => ({ ...layout, data: arena.take(sizes[i]) }));
  }

  has(slot: number): boolean {
    return this.loaded[slot] === true;
  }

  /** Copies an adapter into a slot; the rest of the slot's rank becomes zero in both factors. */
  load(slot: number, adapter: LoadedAdapter): void {
    this.check(slot, adapter);
    for (const { layer, side, parts, width, data } of this.arrays) {
      const size = this.maxRank * width;
      for (const [i, { target, column }] of parts.entries()) {
        const start = (slot * parts.length + i) * size;
        const factors = adapter.layers[layer][target];
        const used = factors ? factors.rank * width : 0;
        if (factors) copyColumns(factors[side], factors[side].length / factors.rank, column, width, data, start);
        if (used < size) data.fill(0, start + used, start + size);
      }
    }
    this.loaded[slot] = true;
  }

  clear(slot: number): void {
    this.checkSlot(slot);
    this.loaded[slot] = false;
  }

  /** Points a session at slots `first` to `first + count - 1`. */
  bind(session: { bind(name: string, tensor: HostTensor): void }, first: number, count: number): void {
    for (const { input, side, parts, width, data } of this.arrays) {
      const size = parts.length * this.maxRank * width;
      const view = data.subarray(first * size, (first + count) * size);
      const stacked = side === "a" || parts.length === 1;
      const dims = stacked ? [count, parts.length * this.maxRank, width] : [count, parts.length, this.maxRank, width];
      session.bind(input, { type: "float32", dims, data: view });
    }
  }

  private check(slot: number, adapter: LoadedAdapter): void {
    this.checkSlot(slot);
    if (adapter.rank > this.maxRank) {
      throw new RangeError(`The adapter's rank ${adapter.rank} is larger than a slot's ${this.maxRank}.`);
    }
    if (adapter.layers.length !== this.config.layers) {
      throw new RangeError(`The adapter has ${adapter.layers.length} layers, the model ${this.config.layers}.`);
    }
    for (const layer of adapter.layers) {
      for (const [target, { rank, a, b }] of Object.entries(layer)) {
        const [outputs, inputs] = targetShape(this.config, target as LoraTarget);
        if (rank > adapter.rank || a.length !== rank * inputs || b.length !== rank * outputs) {
          throw new RangeError(`The adapter's factors of ${target} do not fit this model.`);
        }
      }
    }
  }

  private checkSlot(slot: number): void {
    if (!Number.isInteger(slot) || slot < 0 || slot >= this.slots) {
      throw new RangeError(`Slot ${slot} is not one of ${this.slots}.`);
    }
  }
}

function factorLayouts(config: ModelConfig, layer: number): Omit<FactorArray, "data">[] {
  return (Object.keys(LORA_GROUPS) as LoraGroup[]).flatMap((group) => {
    const targets: readonly LoraTarget[] = LORA_GROUPS[group];
    const chunks = groupChunks(config, group);
    const b = chunks.targets.map((index, chunk) => ({
      target: targets[index],
      column: (chunk - chunks.targets.indexOf(index)) * chunks.width,
    }));
    const a = targets.map((target) => ({ target, column: 0 }));
    const inputs = targetShape(config, targets[0])[1];
    return [
      { input: factorA(layer, group), layer, side: "a" as const, parts: a, width: inputs },
      { input: factorB(layer, group), layer, side: "b" as const, parts: b, width: chunks.width },
    ];
  });
}

/** Copies columns of a matrix whose rows are `stride` wide to rows of `width` at `start`. */
function copyColumns(
  source: Float32Array,
  stride: number,
  column: number,
  width: number,
  target: Float32Array,
  start: number,
): void {
  if (stride === width) {
    target.set(source, start);
    return;
  }
  for (let from = column, to = start; from < source.length; from += stride, to += width) {
    target.set(source.subarray(from, from + width), to);
  }
}
