import { factorA, factorB } from "../graph/lora-delta.ts";
import type { ModelConfig } from "../model/config-types.ts";
import { LORA_GROUPS, type LoadedAdapter, type LoraGroup, type LoraTarget, targetShape } from "../model/lora.ts";
import { Arena } from "./arena.ts";
import type { GraphSession } from "./session.ts";

interface FactorArray {
  readonly input: string;
  readonly layer: number;
  /** Targets whose factors stand in this array, one after the other. */
  readonly targets: readonly LoraTarget[];
  readonly side: "a" | "b";
  /** Length of a row of one target's factor. */
  readonly width: number;
  readonly data: Float32Array;
}

/**
 * Adapters' factors, per layer one array for each group's `a` (`[slots, targets · maxRank, inputs]`) and each
 * target's `b` (`[slots, maxRank, outputs]`). A run reads a contiguous range of slots, in place.
 */
export class SlotPool {
  readonly slots: number;
  readonly maxRank: number;
  private readonly config: ModelConfig;
  private readonly arena: Arena;
  private readonly arrays: FactorArray[] = [];
  private readonly loaded: boolean[];

  constructor(config: ModelConfig, slots: number, maxRank: number) {
    this.config = config;
    this.slots = slots;
    this.maxRank = maxRank;
    this.loaded = new Array<boolean>(slots).fill(false);
    this.arena = new Arena(slots * floatsPerSlot(config, maxRank), true);
    for (let layer = 0; layer < config.layers; layer++) {
      for (const group of Object.keys(LORA_GROUPS) as LoraGroup[]) {
        const targets = LORA_GROUPS[group];
        this.add(factorA(layer, group), layer, targets, "a", targetShape(config, targets[0])[1]);
        for (const target of targets) {
          this.add(factorB(layer, target), layer, [target], "b", targetShape(config, target)[0]);
        }
      }
    }
  }

  get bytes(): number {
    return this.arrays.reduce((total, { data }) => total + data.byteLength, 0);
  }

  has(slot: number): boolean {
    return this.loaded[slot] === true;
  }

  /** Copies an adapter into a slot; the rest of the slot's rank becomes zero in both factors. */
  load(slot: number, adapter: LoadedAdapter): void {
    this.check(slot, adapter);
    for (const array of this.arrays) {
      const part = this.maxRank * array.width;
      for (const [i, target] of array.targets.entries()) {
        const start = (slot * array.targets.length + i) * part;
        const factor = adapter.layers[array.layer][target]?.[array.side];
        if (factor) array.data.set(factor, start);
        array.data.fill(0, start + (factor?.length ?? 0), start + part);
      }
    }
    this.loaded[slot] = true;
  }

  clear(slot: number): void {
    this.checkSlot(slot);
    this.loaded[slot] = false;
  }

  /** Points a session at slots `first` to `first + count - 1`. */
  bind(session: GraphSession, first: number, count: number): void {
    for (const { input, targets, width, data } of this.arrays) {
      const rows = targets.length * this.maxRank;
      const view = data.subarray(first * rows * width, (first + count) * rows * width);
      session.bind(input, { type: "float32", dims: [count, rows, width], data: view });
    }
  }

  private add(input: string, layer: number, targets: readonly LoraTarget[], side: "a" | "b", width: number): void {
    const data = this.arena.take(this.slots * targets.length * this.maxRank * width);
    this.arrays.push({ input, layer, targets, side, width, data });
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

function floatsPerSlot(config: ModelConfig, maxRank: number): number {
  const perLayer = Object.values(LORA_GROUPS).flat() as LoraTarget[];
  const width = perLayer.reduce((total, target) => total + targetShape(config, target).reduce((a, b) => a + b), 0);
  return config.layers * maxRank * width;
}
