import { InferenceSession, Tensor } from "onnxruntime-node";
import type { GraphSession, HostTensor, Runtime, SessionOptions, WantedOutput } from "./session.ts";

/** ONNX Runtime through its Node binding: every fetched output is copied, and the thread blocks while it runs. */
export const nodeRuntime: Runtime = {
  name: "onnxruntime-node",
  sharesWeights: false,
  async load(path: string, { threads, provider }: SessionOptions): Promise<GraphSession> {
    const session = await InferenceSession.create(path, {
      intraOpNumThreads: threads,
      interOpNumThreads: 1,
      executionProviders: provider === "cpu" ? ["cpu"] : [provider, "cpu"],
      logSeverityLevel: 3,
    });
    const feeds: Record<string, Tensor> = {};
    return {
      bind(name: string, { type, dims, data }: HostTensor) {
        // The binding wants bool as bytes of its own type name and the rest as they are.
        feeds[name] = new Tensor(type as "float32", data as Float32Array, dims);
      },
      async run(outputs: readonly WantedOutput[]) {
        const results = await session.run(
          feeds,
          outputs.map(({ name }) => name),
        );
        return outputs.map(({ name }) => results[name].data as Float32Array);
      },
      async release() {
        await session.release();
      },
    };
  },
};
