import { closeSync, openSync, readFileSync, readSync } from "node:fs";
import { dirname, join } from "node:path";
import { ELEMENT_TYPES } from "../onnx/element-type.ts";
import { GraphBuilder } from "../onnx/graph-builder.ts";
import { serialiseModel, WEIGHTS_FILE, WEIGHTS_INDEX, type WeightsEntry } from "../onnx/serialise.ts";
import { type CApiMemory, CApiSession, type TrafficCounter } from "./c-api-session.ts";
import type { Handle, OrtApi } from "./ort-c-api.ts";
import type { Device, DeviceBuffer, DeviceSession, DeviceTraffic, Provider } from "./session.ts";

/** ONNX Runtime's names for the memory of its providers. */
const MEMORY_NAMES = { webgpu: "WebGPU_Buf", cuda: "Cuda" } as const;

/** Adds a provider to session options, which then own it. @throws Error that says what is missing on this machine */
export function appendProvider(api: OrtApi, options: Handle, provider: Exclude<Provider, "cpu">): void {
  try {
    if (provider === "webgpu") api.appendWebGpu(options);
    else api.appendCuda(options);
  } catch (error) {
    const needs = {
      webgpu: "WebGPU needs a graphics driver (on Linux Vulkan: libvulkan.so.1 and a driver for it).",
      cuda: "CUDA needs an NVIDIA driver, CUDA 12 with cuDNN 9, and ONNX Runtime's library for it: ONNXRUNTIME_NODE_INSTALL=cuda12 npm rebuild onnxruntime-node.",
    }[provider];
    throw new Error(`${needs} ${(error as Error).message}`, { cause: error });
  }
}

/** Memory of a WebGPU or CUDA device through the C API. */
export class CApiDevice implements Device {
  private readonly env: Handle;
  private readonly provider: Exclude<Provider, "cpu">;
  private readonly memory: CApiMemory & { readonly device: Handle; readonly traffic: TrafficCounter };
  /** Copies a host tensor to the device. Allocators need a session to belong to, and this one lives as long as they. */
  private readonly copier: CApiSession;
  private readonly allocator: Handle;
  private readonly owned: Handle[] = [];
  private readonly weights = new Map<string, (readonly [name: string, value: Handle])[]>();

  /** @throws Error where this machine has no such device, or ONNX Runtime lacks what it needs to use it */
  constructor(api: OrtApi, env: Handle, host: Handle, provider: Exclude<Provider, "cpu">) {
    this.env = env;
    this.provider = provider;
    const device = api.createMemoryInfo(MEMORY_NAMES[provider]);
    this.memory = { api, host, device, traffic: { uploaded: 0, fetched: 0 } };
    try {
      const session = this.create(1, (options) => api.createSessionFrom(env, serialiseModel(copyGraph()), options));
      this.copier = new CApiSession(this.memory, session);
      this.allocator = api.createAllocator(session, device);
    } catch (error) {
      api.releaseMemoryInfo(device);
      throw error;
    }
  }

  get traffic(): DeviceTraffic {
    return { ...this.memory.traffic };
  }

  allocate(bytes: number): DeviceBuffer {
    const buffer = this.reserve(bytes);
    // Fresh memory holds anything, and what masks hide must still be finite.
    this.fill(buffer, new Float32Array(buffer.bytes / 4));
    return buffer;
  }

  load(path: string, threads: number): DeviceSession {
    const { api } = this.memory;
    const weights = this.folderWeights(dirname(path));
    const session = this.create(threads, (options) => {
      for (const [name, value] of weights) api.addInitializer(options, name, value);
      return api.createSession(this.env, path, options);
    });
    return new CApiSession(this.memory, session);
  }

  build(graph: GraphBuilder): DeviceSession {
    const { api } = this.memory;
    const model = serialiseModel(graph);
    const session = this.create(1, (options) => api.createSessionFrom(this.env, model, options));
    return new CApiSession(this.memory, session);
  }

  async release(): Promise<void> {
    const { api, device } = this.memory;
    for (const value of [...this.weights.values()].flat()) api.releaseValue(value[1]);
    for (const value of this.owned) api.releaseValue(value);
    this.weights.clear();
    this.owned.length = 0;
    api.releaseAllocator(this.allocator);
    await this.copier.release();
    api.releaseMemoryInfo(device);
  }

  private create(threads: number, session: (options: Handle) => Handle): Handle {
    const { api } = this.memory;
    const options = api.createSessionOptions();
    try {
      api.setThreads(options, threads, 1);
      api.addConfigEntry(options, "session.force_spinning_stop", "1");
      appendProvider(api, options, this.provider);
      // An operator that WebGPU lacks would take what it reads to the host and back, in every step and unseen.
      if (this.provider === "webgpu") api.addConfigEntry(options, "session.disable_cpu_ep_fallback", "1");
      return session(options);
    } finally {
      api.releaseSessionOptions(options);
    }
  }

  private reserve(bytes: number): DeviceBuffer {
    const { api } = this.memory;
    const floats = Math.ceil(bytes / 4);
    const value = api.createTensorIn(this.allocator, BigInt64Array.of(BigInt(floats)), ELEMENT_TYPES.float32);
    this.owned.push(value);
    return { bytes: floats * 4, data: api.tensorData(value) };
  }

  /** Bytes travel as float32 whatever they mean: copies do not look at them. */
  private fill(buffer: DeviceBuffer, data: Float32Array): void {
    const dims = [data.length];
    this.copier.bind("from", { type: "float32", dims, data });
    this.copier.keep("to", { type: "float32", dims, buffer });
    this.copier.runNow();
    this.copier.bind("from", { type: "float32", dims: [0], data: new Float32Array(0) });
  }

  private folderWeights(folder: string): readonly (readonly [name: string, value: Handle])[] {
    let weights = this.weights.get(folder);
    if (!weights) this.weights.set(folder, (weights = this.readWeights(folder)));
    return weights;
  }

  private readWeights(folder: string): (readonly [name: string, value: Handle])[] {
    const { api, device } = this.memory;
    const index = JSON.parse(readFileSync(join(folder, WEIGHTS_INDEX), "utf8")) as WeightsEntry[];
    const byOffset = new Map<number, DeviceBuffer>();
    const file = openSync(join(folder, WEIGHTS_FILE), "r");
    try {
      return index.map(({ name, type, dims, offset, byteLength }) => {
        let buffer = byOffset.get(offset);
        if (!buffer) {
          buffer = this.reserve(byteLength);
          this.fill(buffer, readFloats(file, offset, byteLength));
          byOffset.set(offset, buffer);
        }
        const shape = BigInt64Array.from(dims, BigInt);
        return [name, api.createTensorAt(device, buffer.data, buffer.bytes, shape, ELEMENT_TYPES[type])] as const;
      });
    } finally {
      closeSync(file);
    }
  }
}

function copyGraph(): GraphBuilder {
  const g = new GraphBuilder("copy");
  g.output(g.input("from", "float32", ["floats"]), "float32", ["floats"], "to");
  return g;
}

function readFloats(file: number, offset: number, byteLength: number): Float32Array {
  const floats = new Float32Array(Math.ceil(byteLength / 4));
  const bytes = new Uint8Array(floats.buffer);
  for (let done = 0; done < byteLength; ) {
    const got = readSync(file, bytes, done, Math.min(byteLength - done, 1 << 30), offset + done);
    if (got === 0) throw new Error(`${WEIGHTS_FILE} ends before ${offset + byteLength} bytes.`);
    done += got;
  }
  return floats;
}
