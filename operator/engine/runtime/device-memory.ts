import type { ModelConfig } from "../model/config-types.ts";
import type { LoadedAdapter } from "../model/lora.ts";
import { DeviceKvPool } from "./device-kv-pool.ts";
import { DeviceSlotPool } from "./device-slot-pool.ts";
import type { RunnerLimits, StepRow } from "./model-runner.ts";
import type { Device, DeviceTraffic, GraphSession, Provider, WantedOutput } from "./session.ts";
import type { StepLayout } from "./step-layout.ts";
import type { StepMemory } from "./step-memory.ts";

/**
 * Weights, pools and adapters on the device that computes. A step sends token ids, rotations, tables and lengths,
 * and fetches logits, log-probabilities and one number per token.
 */
export class DeviceMemory implements StepMemory {
  readonly place: Provider;
  readonly slotsFromZero = true;
  private readonly limits: RunnerLimits;
  private readonly device: Device;
  private readonly kv: DeviceKvPool;
  private readonly slots: DeviceSlotPool;

  /** @throws Error where the device has too little memory */
  constructor(config: ModelConfig, limits: RunnerLimits, device: Device, place: Provider) {
    this.limits = limits;
    this.device = device;
    this.place = place;
    this.kv = new DeviceKvPool(device, config, limits.blocks, limits.blockSize);
    this.slots = new DeviceSlotPool(device, config, limits.slots, limits.maxRank);
  }

  get kvBytes(): number {
    return this.kv.bytes;
  }

  get slotBytes(): number {
    return this.slots.bytes;
  }

  get traffic(): DeviceTraffic {
    return this.device.traffic;
  }

  async load(path: string, threads: number): Promise<GraphSession> {
    const session = this.device.load(path, threads);
    this.kv.bind(session);
    return session;
  }

  bindStep(session: GraphSession, { rows, starts, width, tableWidth }: StepLayout): void {
    const table = new Int32Array(rows.length * tableWidth);
    const places = new BigInt64Array(starts[rows.length]);
    for (const [i, { blocks, past, tokens }] of rows.entries()) {
      table.set(this.kv.tableRow(blocks, past, tableWidth), i * tableWidth);
      places.set(this.kv.places(blocks, past, tokens.length), starts[i]);
    }
    session.bind("table", { type: "int32", dims: [rows.length, tableWidth], data: table });
    session.bind("places", { type: "int64", dims: [places.length, 1], data: places });
    const cached = tableWidth * this.limits.blockSize;
    const floats = (name: string, dims: number[], data: Float32Array) =>
      session.bind(name, { type: "float32", dims, data });
    floats("cached", [], Float32Array.of(cached));
    floats("columns", [], Float32Array.of(cached + width));
    floats(
      "order",
      [width, 1],
      Float32Array.from({ length: width }, (_, i) => i),
    );
    floats(
      "past",
      [rows.length, 1, 1, 1],
      Float32Array.from(rows, ({ past }) => past),
    );
  }

  freshOutput({ rows, starts }: StepLayout): WantedOutput {
    return { name: "checksums", dims: [starts[rows.length]] };
  }

  isFinite(fresh: Float32Array, { starts }: StepLayout, at: number): boolean {
    return fresh.subarray(starts[at], starts[at + 1]).every(Number.isFinite);
  }

  /** The graph has stored them already: what came to nothing must go, for masks hide numbers but not infinities. */
  settle(_: Float32Array, __: StepLayout, ___: number, row: StepRow, finite: boolean): void {
    if (!finite) this.kv.erase(row.blocks, row.past, row.tokens.length);
  }

  copyBlock(from: number, to: number): void {
    this.kv.copyBlock(from, to);
  }

  hasSlot(slot: number): boolean {
    return this.slots.has(slot);
  }

  loadSlot(slot: number, adapter: LoadedAdapter): void {
    this.slots.load(slot, adapter);
  }

  clearSlot(slot: number): void {
    this.slots.clear(slot);
  }

  bindSlots(session: GraphSession, _: number, count: number): void {
    this.slots.bind(session, count);
  }

  async release(): Promise<void> {
    await this.kv.release();
    await this.slots.release();
    await this.device.release();
  }
}
