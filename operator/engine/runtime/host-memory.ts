import { maskInput } from "../graph/attention.ts";
import type { ModelConfig } from "../model/config-types.ts";
import type { LoadedAdapter } from "../model/lora.ts";
import { raggedMask } from "./attention-mask.ts";
import { KvPool } from "./kv-pool.ts";
import type { RunnerLimits, StepRow } from "./model-runner.ts";
import type { GraphSession, Provider, Runtime, WantedOutput } from "./session.ts";
import { SlotPool } from "./slot-pool.ts";
import type { StepLayout } from "./step-layout.ts";
import type { StepMemory } from "./step-memory.ts";

/** Pools in host memory, which graphs on the processor read where they lie. What is new is an output of every step. */
export class HostMemory implements StepMemory {
  readonly place = "cpu";
  readonly traffic = null;
  readonly slotsFromZero = false;
  private readonly config: ModelConfig;
  private readonly limits: RunnerLimits;
  private readonly runtime: Runtime;
  private readonly provider: Provider;
  private readonly kv: KvPool;
  private readonly slots: SlotPool;

  constructor(config: ModelConfig, limits: RunnerLimits, runtime: Runtime, provider: Provider) {
    this.config = config;
    this.limits = limits;
    this.runtime = runtime;
    this.provider = provider;
    this.kv = new KvPool(config, limits.blocks, limits.blockSize);
    this.slots = new SlotPool(config, limits.slots, limits.maxRank);
  }

  get kvBytes(): number {
    return KvPool.bytes(this.config, this.limits.blocks, this.limits.blockSize);
  }

  get slotBytes(): number {
    return this.slots.bytes;
  }

  async load(path: string, threads: number): Promise<GraphSession> {
    const session = await this.runtime.load(path, { threads, provider: this.provider });
    this.kv.bind(session);
    return session;
  }

  bindStep(session: GraphSession, layout: StepLayout): void {
    const { kind, rows, width, cachedBlocks, tableWidth } = layout;
    const { kvHeads, windows } = this.config;
    const { blockSize } = this.limits;
    const table = new Int32Array(rows.length * kvHeads * tableWidth);
    for (const [i, { blocks }] of rows.entries()) this.kv.fillTable(table, i, tableWidth, blocks, cachedBlocks[i]);
    session.bind("table", { type: "int32", dims: [rows.length, kvHeads, tableWidth], data: table });
    if (kind === "flash") return;
    const dims = [rows.length, 1, width, tableWidth * blockSize + width];
    for (const window of new Set(windows)) {
      session.bind(maskInput(window), { type: "float32", dims, data: raggedMask(layout, blockSize, window) });
    }
  }

  freshOutput({ kind, rows, width }: StepLayout): WantedOutput {
    const { layers, kvHeads, headDim } = this.config;
    const perHead = [kvHeads, width, headDim];
    const outer = kind === "flash" ? [2 * layers, rows.length] : [2 * layers * rows.length];
    return { name: "kv", dims: [...outer, ...perHead] };
  }

  isFinite(fresh: Float32Array, { rows, width }: StepLayout, at: number): boolean {
    return this.kv.isFinite(fresh, rows.length, width, at, rows[at].tokens.length);
  }

  settle(fresh: Float32Array, { rows, width }: StepLayout, at: number, row: StepRow, finite: boolean): void {
    if (finite) this.kv.append(fresh, rows.length, width, at, row.past, row.tokens.length, row.blocks);
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

  bindSlots(session: GraphSession, first: number, count: number): void {
    this.slots.bind(session, first, count);
  }

  async release(): Promise<void> {}
}
