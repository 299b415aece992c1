import type { LoadedAdapter } from "../model/lora.ts";
import type { StepRow } from "./model-runner.ts";
import type { DeviceTraffic, GraphSession, Provider, WantedOutput } from "./session.ts";
import type { StepLayout } from "./step-layout.ts";

/** Where the keys, values and adapters of a runner are: in host memory, or on the device that computes. */
export interface StepMemory {
  /** `cpu` where the pools are in host memory, whatever computes. */
  readonly place: Provider;
  readonly kvBytes: number;
  readonly slotBytes: number;
  /** Bytes that crossed between host and device; null where nothing is kept on a device. */
  readonly traffic: DeviceTraffic | null;
  /** Graphs can read any range of slots, or only ranges that begin with slot 0. */
  readonly slotsFromZero: boolean;

  /** Loads a graph that was written for this memory and binds the pools to it. */
  load(path: string, threads: number): Promise<GraphSession>;

  /**
   * Binds where the rows' blocks are, which positions tokens attend to, and where new keys and values go if the graph
   * stores them.
   */
  bindStep(session: GraphSession, layout: StepLayout): void;
  /** The output that tells of a step's new keys and values; {@link isFinite} and {@link settle} read it. */
  freshOutput(layout: StepLayout): WantedOutput;
  /** Whether the new keys and values of the row at `at` are finite in the last layer, into which all others flow. */
  isFinite(fresh: Float32Array, layout: StepLayout, at: number): boolean;
  /** Makes the pools hold a row's new keys and values, or nothing of them where the row came to nothing. */
  settle(fresh: Float32Array, layout: StepLayout, at: number, row: StepRow, finite: boolean): void;
  /** Copies one block's keys and values of every layer. */
  copyBlock(from: number, to: number): void;

  hasSlot(slot: number): boolean;
  loadSlot(slot: number, adapter: LoadedAdapter): void;
  clearSlot(slot: number): void;
  /** Points a session at slots `first` to `first + count - 1`. */
  bindSlots(session: GraphSession, first: number, count: number): void;

  /** Sessions that were loaded here must be gone. */
  release(): Promise<void>;
}
