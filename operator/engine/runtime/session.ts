import type { ElementType } from "../onnx/element-type.ts";
import type { GraphBuilder, TensorData } from "../onnx/graph-builder.ts";

/** A tensor in host memory. Its data is read or written in place, never copied. */
export interface HostTensor {
  readonly type: ElementType;
  readonly dims: readonly number[];
  readonly data: TensorData;
}

/** Memory on a device. */
export interface DeviceBuffer {
  readonly bytes: number;
  /** An address, or the handle of a buffer: nothing may be added to it. */
  readonly data: bigint;
}

/** A tensor at the beginning of a device's memory, read or written in place. Several may lie in one buffer. */
export interface DeviceTensor {
  readonly type: ElementType;
  readonly dims: readonly number[];
  readonly buffer: DeviceBuffer;
}

/** An output that a run should give, with the shape it will have. */
export interface WantedOutput {
  readonly name: string;
  readonly dims: readonly number[];
}

/** Where the operators run. */
export type Provider = "cpu" | "webgpu" | "cuda";

export interface SessionOptions {
  readonly threads: number;
  readonly provider: Provider;
}

/** One loaded graph. */
export interface GraphSession {
  /**
   * Sets an input for this and later runs. The session reads the memory while it runs: what is written into it
   * between runs is seen by the next one.
   */
  bind(name: string, tensor: HostTensor | DeviceTensor): void;
  /** Runs the graph. The arrays belong to the caller until the next run of this session. */
  run(outputs: readonly WantedOutput[]): Promise<Float32Array[]>;
  release(): Promise<void>;
}

/** A graph whose outputs may stay on the device. */
export interface DeviceSession extends GraphSession {
  /**
   * Sets where an output of this and later runs is written; it is never fetched. An output may lie where an input
   * does: operators that can then work in place.
   */
  keep(name: string, tensor: DeviceTensor): void;
  /** Runs before it returns, for what must be done between two steps. */
  runNow(): void;
}

/** Bytes that crossed between host and device since the device was opened. */
export interface DeviceTraffic {
  /** Tensors in host memory that runs read, small ones that operators want on the processor included. */
  readonly uploaded: number;
  /** Outputs that were fetched. */
  readonly fetched: number;
}

/** Memory of a device and what works on it. */
export interface Device {
  readonly traffic: DeviceTraffic;
  /** Zeroed memory. @throws where the device has none left, or none in one piece */
  allocate(bytes: number): DeviceBuffer;
  /** A stored graph. All graphs of a folder use one copy of its weights, which is made when the first is loaded. */
  load(path: string, threads: number): DeviceSession;
  /** A graph that needs no stored weights. */
  build(graph: GraphBuilder): DeviceSession;
  /** Frees everything; sessions that used it must be gone by then. */
  release(): Promise<void>;
}

/** A way into ONNX Runtime. */
export interface Runtime {
  readonly name: string;
  /** Whether graphs in one folder share their weights in memory, on the processor. */
  readonly sharesWeights: boolean;
  /** Opens a device. A runtime without this copies to the device what a run reads, at every run. */
  openDevice?(provider: Exclude<Provider, "cpu">): Device;
  load(path: string, options: SessionOptions): Promise<GraphSession>;
}
