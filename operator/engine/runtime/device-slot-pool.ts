import { isFactorA } from "../graph/lora-delta.ts";
import { fillSlotGraph, type SlotArray, slotRows, slotTensors } from "../graph/pool-graphs.ts";
import type { ModelConfig } from "../model/config-types.ts";
import type { LoadedAdapter } from "../model/lora.ts";
import type { Device, DeviceBuffer, DeviceSession, GraphSession, HostTensor } from "./session.ts";
import { SlotPool } from "./slot-pool.ts";

/** An array of all slots on the device, and the shape of one slot as a step's graph sees it. */
interface ResidentArray extends SlotArray {
  readonly slotDims: readonly number[];
  readonly buffer: DeviceBuffer;
}

/**
 * Adapters' factors on a device. An adapter is laid out in a slot of host memory, checked there as everywhere, and
 * crosses once, in a single run. Graphs read the slots from 0 on.
 */
export class DeviceSlotPool {
  readonly bytes: number;
  private readonly slots: number;
  private readonly staging: SlotPool;
  private readonly arrays: readonly ResidentArray[];
  private readonly filler: DeviceSession;
  private readonly loaded: boolean[];

  constructor(device: Device, config: ModelConfig, slots: number, maxRank: number) {
    this.slots = slots;
    this.staging = new SlotPool(config, 1, maxRank);
    this.bytes = this.staging.bytes * slots;
    this.loaded = new Array<boolean>(slots).fill(false);
    const arrays: ResidentArray[] = [];
    const list = (name: string, { dims }: { readonly dims: readonly number[] }) => {
      const slotDims = dims.slice(1);
      const width = slotDims[slotDims.length - 1];
      const floats = slotDims.reduce((total, size) => total * size, 1);
      const seen = isFactorA(name) ? [width, floats / width] : slotDims;
      arrays.push({
        name,
        height: floats / width,
        width,
        slotDims: seen,
        buffer: device.allocate(floats * 4 * slots),
      });
    };
    this.staging.bind({ bind: list }, 0, 1);
    this.arrays = arrays;
    this.filler = device.build(fillSlotGraph(arrays));
    const shapes = new Map(arrays.map(({ name, height, width }) => [name, [height, width]]));
    const stage = (name: string, tensor: HostTensor) => this.filler.bind(name, { ...tensor, dims: shapes.get(name)! });
    this.staging.bind({ bind: stage }, 0, 1);
    for (const array of arrays) {
      const { pool, filled } = slotTensors(array);
      const { rows, rowWidth } = slotRows(array);
      const all = { type: "float32", dims: [slots * rows, rowWidth], buffer: array.buffer } as const;
      this.filler.bind(pool, all);
      this.filler.keep(filled, all);
    }
  }

  has(slot: number): boolean {
    return this.loaded[slot] === true;
  }

  load(slot: number, adapter: LoadedAdapter): void {
    this.checkSlot(slot);
    this.staging.load(0, adapter);
    for (const array of this.arrays) {
      const { rows } = slotRows(array);
      const places = BigInt64Array.from({ length: rows }, (_, i) => BigInt(slot * rows + i));
      this.filler.bind(slotTensors(array).places, { type: "int64", dims: [rows, 1], data: places });
    }
    // A run that fails leaves neither the old adapter nor the new one.
    this.loaded[slot] = false;
    this.filler.runNow();
    this.loaded[slot] = true;
  }

  clear(slot: number): void {
    this.checkSlot(slot);
    this.loaded[slot] = false;
  }

  /** Points a session at the slots 0 to `count - 1`. */
  bind(session: GraphSession, count: number): void {
    for (const { name, slotDims, buffer } of this.arrays) {
      session.bind(name, { type: "float32", dims: [count, ...slotDims], buffer });
    }
  }

  async release(): Promise<void> {
    await this.filler.release();
  }

  private checkSlot(slot: number): void {
    if (!Number.isInteger(slot) || slot < 0 || slot >= this.slots) {
      throw new RangeError(`Slot ${slot} is not one of ${this.slots}.`);
    }
  }
}
