import type { ElementType } from "../onnx/element-type.ts";
import type { TensorData } from "../onnx/graph-builder.ts";

/** A tensor in host memory. Its data is read or written in place, never copied. */
export interface HostTensor {
  readonly type: ElementType;
  readonly dims: readonly number[];
  readonly data: TensorData;
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
  bind(name: string, tensor: HostTensor): void;
  /** Runs the graph. The arrays belong to the caller until the next run of this session. */
  run(outputs: readonly WantedOutput[]): Promise<Float32Array[]>;
  release(): Promise<void>;
}

/** A way into ONNX Runtime. */
export interface Runtime {
  readonly name: string;
  /** Whether graphs in one folder share their weights in memory, on the processor. */
  readonly sharesWeights: boolean;
  load(path: string, options: SessionOptions): Promise<GraphSession>;
}
