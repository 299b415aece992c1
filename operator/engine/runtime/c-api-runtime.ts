import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import koffi from "koffi";
import { ELEMENT_TYPES } from "../onnx/element-type.ts";
import { WEIGHTS_INDEX } from "../onnx/serialise.ts";
import { type Handle, type OrtApi, ortApi } from "./ort-c-api.ts";
import type { GraphSession, HostTensor, Runtime, SessionOptions, WantedOutput } from "./session.ts";
import { CAN_SHARE_WEIGHTS, SharedWeights } from "./shared-weights.ts";

let shared: { api: OrtApi; env: Handle; memory: Handle } | undefined;

/** ONNX Runtime through its C API: inputs and outputs are used where they lie, nothing is copied. */
export const cApiRuntime: Runtime = {
  name: "onnxruntime C API",
  sharesWeights: CAN_SHARE_WEIGHTS,
  async load(path: string, options: SessionOptions): Promise<GraphSession> {
    const api = ortApi();
    shared ??= { api, env: api.createEnv(), memory: api.createCpuMemoryInfo() };
    return new CApiSession(shared.api, shared.env, shared.memory, path, options);
  },
};

/** A tensor over JavaScript memory; holding the array keeps the memory alive. */
interface Bound {
  readonly value: Handle;
  readonly data: HostTensor["data"];
}

class CApiSession implements GraphSession {
  private readonly api: OrtApi;
  private readonly memory: Handle;
  private readonly session: Handle;
  private readonly weights: SharedWeights | undefined;
  private readonly inputs = new Map<string, Bound>();
  private readonly outputs = new Map<string, Bound & { readonly dims: string }>();
  private readonly names = new Map<string, NativeName>();
  private inputNames = new BigUint64Array(0);

  constructor(api: OrtApi, env: Handle, memory: Handle, path: string, { threads, provider }: SessionOptions) {
    this.api = api;
    this.memory = memory;
    const options = api.createSessionOptions();
    try {
      api.setThreads(options, threads, 1);
      // Several graphs take turns: idle threads of one must not hold the cores of the next.
      api.addConfigEntry(options, "session.force_spinning_stop", "1");
      if (provider === "cuda") throw new Error("CUDA runs through the Node binding only.");
      if (provider === "webgpu") api.appendProvider(options, "WebGPU");
      const folder = dirname(path);
      const shares = provider === "cpu" && CAN_SHARE_WEIGHTS && existsSync(join(folder, WEIGHTS_INDEX));
      this.weights = shares ? SharedWeights.acquire(api, memory, folder) : undefined;
      this.session = this.weights?.createSession(env, path, options) ?? api.createSession(env, path, options);
    } catch (error) {
      this.weights?.release();
      throw error;
    } finally {
      api.releaseSessionOptions(options);
    }
  }

  bind(name: string, { type, dims, data }: HostTensor): void {
    const previous = this.inputs.get(name);
    const value = this.tensor(type, dims, data);
    this.inputs.set(name, { value, data });
    if (previous) this.api.releaseValue(previous.value);
    else this.inputNames = BigUint64Array.from(this.inputs.keys(), (key) => this.name(key));
  }

  async run(wanted: readonly WantedOutput[]): Promise<Float32Array[]> {
    const results = wanted.map((output) => this.output(output));
    const inputs = BigUint64Array.from(this.inputs.values(), ({ value }) => value);
    const outputs = BigUint64Array.from(results, ({ value }) => value);
    const outputNames = BigUint64Array.from(wanted, ({ name }) => this.name(name));
    this.api.run(this.session, this.inputNames, inputs, outputNames, outputs);
    return results.map(({ data }) => data as Float32Array);
  }

  async release(): Promise<void> {
    for (const { value } of [...this.inputs.values(), ...this.outputs.values()]) this.api.releaseValue(value);
    this.inputs.clear();
    this.outputs.clear();
    this.api.releaseSession(this.session);
    this.weights?.release();
  }

  /** Where an output is written; kept while its shape stays the same. */
  private output({ name, dims }: WantedOutput): Bound {
    const key = dims.join();
    const previous = this.outputs.get(name);
    if (previous?.dims === key) return previous;
    const data = new Float32Array(dims.reduce((total, size) => total * size, 1));
    const value = this.tensor("float32", dims, data);
    if (previous) this.api.releaseValue(previous.value);
    this.outputs.set(name, { value, data, dims: key });
    return { value, data };
  }

  private tensor(type: HostTensor["type"], dims: readonly number[], data: HostTensor["data"]): Handle {
    // Touching `buffer` moves a short array, which V8 keeps inside the object, to memory that stays where it is.
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    return this.api.createTensor(this.memory, bytes, BigInt64Array.from(dims, BigInt), ELEMENT_TYPES[type]);
  }

  private name(text: string): bigint {
    let name = this.names.get(text);
    if (!name) this.names.set(text, (name = nativeName(text)));
    return name.address;
  }
}

/** A zero-terminated string whose memory does not move while the array lives. */
interface NativeName {
  readonly address: bigint;
  readonly bytes: Uint8Array;
}

function nativeName(text: string): NativeName {
  const bytes = new Uint8Array(new ArrayBuffer(Buffer.byteLength(text) + 1));
  new TextEncoder().encodeInto(text, bytes);
  return { address: koffi.address(bytes), bytes };
}
