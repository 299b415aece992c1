import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { WEIGHTS_INDEX } from "../onnx/serialise.ts";
import { appendProvider, CApiDevice } from "./c-api-device.ts";
import { CApiSession } from "./c-api-session.ts";
import { type Handle, type OrtApi, ortApi } from "./ort-c-api.ts";
import type { GraphSession, Runtime, SessionOptions } from "./session.ts";
import { CAN_SHARE_WEIGHTS, SharedWeights } from "./shared-weights.ts";

let shared: { api: OrtApi; env: Handle; host: Handle } | undefined;

function environment() {
  const api = ortApi();
  shared ??= { api, env: api.createEnv(), host: api.createCpuMemoryInfo() };
  return shared;
}

/** ONNX Runtime through its C API: tensors are used where they lie, in host memory or on a device. */
export const cApiRuntime: Runtime = {
  name: "onnxruntime C API",
  sharesWeights: CAN_SHARE_WEIGHTS,
  openDevice(provider) {
    const { api, env, host } = environment();
    return new CApiDevice(api, env, host, provider);
  },
  async load(path: string, { threads, provider }: SessionOptions): Promise<GraphSession> {
    const { api, env, host } = environment();
    const options = api.createSessionOptions();
    let weights: SharedWeights | undefined;
    try {
      api.setThreads(options, threads, 1);
      // Several graphs take turns: idle threads of one must not hold the cores of the next.
      api.addConfigEntry(options, "session.force_spinning_stop", "1");
      if (provider !== "cpu") appendProvider(api, options, provider);
      const folder = dirname(path);
      const shares = provider === "cpu" && CAN_SHARE_WEIGHTS && existsSync(join(folder, WEIGHTS_INDEX));
      weights = shares ? SharedWeights.acquire(api, host, folder) : undefined;
      const session = weights?.createSession(env, path, options) ?? api.createSession(env, path, options);
      return new CApiSession({ api, host }, session, () => weights?.release());
    } catch (error) {
      weights?.release();
      throw error;
    } finally {
      api.releaseSessionOptions(options);
    }
  },
};
