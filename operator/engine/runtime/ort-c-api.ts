import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import koffi from "koffi";

/** An address in native memory: an `Ort…*` of the C API. */
export type Handle = bigint;

/**
 * Positions of functions in `struct OrtApi` (onnxruntime_c_api.h). The struct only ever grows at its end: positions
 * are the same in every later release.
 */
const POSITION = {
  GetErrorMessage: 2,
  CreateEnv: 3,
  CreateSession: 7,
  CreateSessionFromArray: 8,
  Run: 9,
  CreateSessionOptions: 10,
  SetSessionGraphOptimizationLevel: 23,
  SetIntraOpNumThreads: 24,
  SetInterOpNumThreads: 25,
  CreateTensorAsOrtValue: 48,
  CreateTensorWithDataAsOrtValue: 49,
  GetTensorMutableData: 51,
  CreateMemoryInfo: 68,
  CreateCpuMemoryInfo: 69,
  ReleaseStatus: 93,
  ReleaseMemoryInfo: 94,
  ReleaseSession: 95,
  ReleaseValue: 96,
  ReleaseSessionOptions: 100,
  AddSessionConfigEntry: 130,
  CreateAllocator: 131,
  ReleaseAllocator: 132,
  AddInitializer: 150,
  CreatePrepackedWeightsContainer: 166,
  ReleasePrepackedWeightsContainer: 167,
  CreateSessionWithPrepackedWeightsContainer: 168,
  AppendExecutionProvider_CUDA_V2: 204,
  CreateCUDAProviderOptions: 205,
  UpdateCUDAProviderOptions: 206,
  ReleaseCUDAProviderOptions: 208,
  SessionOptionsAppendExecutionProvider: 216,
} as const;
const API_VERSION = 20;

type Name = keyof typeof POSITION;

/** The C API of the library that onnxruntime-node ships, called directly. Every call throws on a bad status. */
export interface OrtApi {
  createEnv(): Handle;
  createCpuMemoryInfo(): Handle;
  createSessionOptions(): Handle;
  setThreads(options: Handle, intra: number, inter: number): void;
  addConfigEntry(options: Handle, key: string, value: string): void;
  appendWebGpu(options: Handle): void;
  /** @throws where the library with CUDA's kernels, or what it needs, is not on this machine */
  appendCuda(options: Handle): void;
  createSession(env: Handle, path: string, options: Handle): Handle;
  /** A session from the bytes of a model, which are not needed afterwards. */
  createSessionFrom(env: Handle, model: Uint8Array, options: Handle): Handle;
  /** A session that takes packed weights from a container, and leaves there what it packs itself. */
  createSessionSharing(env: Handle, path: string, options: Handle, container: Handle): Handle;
  createPrepackedWeights(): Handle;
  releasePrepackedWeights(container: Handle): void;
  /** Sets a weight of the graph, which may be shared among sessions; it must outlive them. */
  addInitializer(options: Handle, name: string, value: Handle): void;
  /** A tensor over the caller's memory, which must outlive it and not move. */
  createTensor(memory: Handle, data: Uint8Array, dims: BigInt64Array, type: number): Handle;
  /** A tensor over native memory. */
  createTensorAt(memory: Handle, address: bigint, bytes: number, dims: BigInt64Array, type: number): Handle;
  /** Memory of a device by ONNX Runtime's name for it, `WebGPU_Buf` or `Cuda`. */
  createMemoryInfo(name: string): Handle;
  /** Allocates where a session's provider computes; it must be released before that session. */
  createAllocator(session: Handle, memory: Handle): Handle;
  createTensorIn(allocator: Handle, dims: BigInt64Array, type: number): Handle;
  /** Where a tensor's data is: an address, or the handle of a buffer. */
  tensorData(value: Handle): Handle;
  /** Arrays of `char*`, `OrtValue*`; outputs are written into the tensors given. */
  run(
    session: Handle,
    inputNames: BigUint64Array,
    inputs: BigUint64Array,
    outputNames: BigUint64Array,
    outputs: BigUint64Array,
  ): void;
  releaseSessionOptions(options: Handle): void;
  releaseSession(session: Handle): void;
  releaseValue(value: Handle): void;
  releaseAllocator(allocator: Handle): void;
  releaseMemoryInfo(memory: Handle): void;
}

let loaded: OrtApi | undefined;
/** Kept for the life of the process: a collected handle would unload the library under running code. */
let library: ReturnType<typeof koffi.load> | undefined;

/** @throws when the library is not there or does not offer the interface */
export function ortApi(): OrtApi {
  loaded ??= load();
  return loaded;
}

/** Path of the shared library inside the onnxruntime-node package. @throws when this platform has none */
function libraryPath(): string {
  const require = createRequire(import.meta.url);
  const root = dirname(dirname(require.resolve("onnxruntime-node")));
  const folder = join(root, "bin", "napi-v6", process.platform, process.arch);
  const names = { linux: ["libonnxruntime.so.1", "libonnxruntime.so"], darwin: ["libonnxruntime.dylib"] };
  const candidates = names[process.platform as "linux" | "darwin"] ?? ["onnxruntime.dll"];
  const path = candidates.map((name) => join(folder, name)).find((candidate) => existsSync(candidate));
  if (!path) throw new Error(`onnxruntime-node has no library for ${process.platform} ${process.arch} in ${folder}.`);
  return path;
}

function load(): OrtApi {
  // Kernels use more stack than the foreign-function layer sets aside.
  koffi.config({ sync_stack_size: 8 << 20, async_stack_size: 8 << 20 });
  library = koffi.load(libraryPath());
  const base = koffi.struct({ GetApi: "void *", GetVersionString: "void *" });
  const getBase = library.func("OrtGetApiBase", koffi.pointer(base), []);
  const { GetApi } = koffi.decode(getBase(), base) as { GetApi: unknown };
  const getApi = koffi.decode(GetApi, koffi.proto("void *(uint32_t version)"));
  const api: unknown = getApi(API_VERSION);
  if (!api) throw new Error(`This ONNX Runtime does not offer version ${API_VERSION} of its interface.`);
  const table: unknown[] = koffi.decode(api, koffi.array("void *", Math.max(...Object.values(POSITION)) + 1));
  const bind = (name: Name, result: string, parameters: string[]) =>
    koffi.decode(table[POSITION[name]], koffi.proto(`${result} (${parameters.join(", ")})`));

  const getErrorMessage = bind("GetErrorMessage", "const char *", ["void *"]);
  const releaseStatus = bind("ReleaseStatus", "void", ["void *"]);
  const check = (name: Name, status: unknown) => {
    if (!status) return;
    const message = String(getErrorMessage(status));
    releaseStatus(status);
    throw new Error(`ONNX Runtime, ${name}: ${message}`);
  };
  const checked = (name: Name, parameters: string[]) => {
    const call = bind(name, "void *", parameters);
    return (...values: unknown[]) => check(name, call(...values));
  };
  /** For functions whose last parameter receives a pointer. */
  const creating = (name: Name, parameters: string[]) => {
    const call = checked(name, [...parameters, "void *"]);
    const out = new BigUint64Array(16);
    return (...values: unknown[]): Handle => {
      call(...values, out);
      return out[0];
    };
  };
  const pointers = "void *";
  const createEnv = creating("CreateEnv", ["int", "const char *"]);
  const createCpuMemoryInfo = creating("CreateCpuMemoryInfo", ["int", "int"]);
  const pathType = process.platform === "win32" ? "str16" : "const char *";
  const createSession = creating("CreateSession", ["void *", pathType, "void *"]);
  const createSessionFrom = creating("CreateSessionFromArray", ["void *", "void *", "size_t", "void *"]);
  const createMemoryInfo = creating("CreateMemoryInfo", ["const char *", "int", "int", "int"]);
  const createTensorIn = creating("CreateTensorAsOrtValue", ["void *", "void *", "size_t", "int"]);
  const createCudaOptions = creating("CreateCUDAProviderOptions", []);
  const releaseCudaOptions = bind("ReleaseCUDAProviderOptions", "void", ["void *"]);
  const updateCudaOptions = checked("UpdateCUDAProviderOptions", ["void *", "void *", "void *", "size_t"]);
  const appendCudaOptions = checked("AppendExecutionProvider_CUDA_V2", ["void *", "void *"]);
  const sharing = ["void *", pathType, "void *", "void *"];
  const createTensor = creating("CreateTensorWithDataAsOrtValue", [
    "void *",
    "void *",
    "size_t",
    "void *",
    "size_t",
    "int",
  ]);
  const setIntra = checked("SetIntraOpNumThreads", ["void *", "int"]);
  const setInter = checked("SetInterOpNumThreads", ["void *", "int"]);
  const appendProvider = checked("SessionOptionsAppendExecutionProvider", [
    "void *",
    "const char *",
    "void *",
    "void *",
    "size_t",
  ]);
  const run = checked("Run", ["void *", "void *", pointers, pointers, "size_t", pointers, "size_t", pointers]);
  const setLevel = checked("SetSessionGraphOptimizationLevel", ["void *", "int"]);
  const createSessionOptions = creating("CreateSessionOptions", []);
  const ERRORS_ONLY = 3;
  const ALL_OPTIMISATIONS = 99;
  const DEVICE_ALLOCATOR = 0;
  const DEFAULT_MEMORY = 0;
  return {
    createEnv: () => createEnv(ERRORS_ONLY, "openledger"),
    createCpuMemoryInfo: () => createCpuMemoryInfo(0, 0),
    createSessionOptions() {
      const options = createSessionOptions();
      setLevel(options, ALL_OPTIMISATIONS);
      return options;
    },
    setThreads(options, intra, inter) {
      setIntra(options, intra);
      setInter(options, inter);
    },
    addConfigEntry: checked("AddSessionConfigEntry", ["void *", "const char *", "const char *"]),
    appendWebGpu: (options) => appendProvider(options, "WebGPU", null, null, 0),
    appendCuda(options) {
      const cuda = createCudaOptions();
      try {
        // By default products of float32 are rounded to 10 bits of fraction.
        const [key, value] = ["use_tf32", "0"].map(nativeName);
        updateCudaOptions(cuda, BigUint64Array.of(key.address), BigUint64Array.of(value.address), 1);
        appendCudaOptions(options, cuda);
      } finally {
        releaseCudaOptions(cuda);
      }
    },
    createSession,
    createSessionFrom: (env, model, options) => createSessionFrom(env, model, model.length, options),
    createSessionSharing: creating("CreateSessionWithPrepackedWeightsContainer", sharing),
    createPrepackedWeights: creating("CreatePrepackedWeightsContainer", []),
    releasePrepackedWeights: bind("ReleasePrepackedWeightsContainer", "void", ["void *"]),
    addInitializer: checked("AddInitializer", ["void *", "const char *", "void *"]),
    createTensor: (memory, data, dims, type) => createTensor(memory, data, data.length, dims, dims.length, type),
    createTensorAt: (memory, address, bytes, dims, type) =>
      createTensor(memory, address, bytes, dims, dims.length, type),
    createMemoryInfo: (name) => createMemoryInfo(name, DEVICE_ALLOCATOR, 0, DEFAULT_MEMORY),
    createAllocator: creating("CreateAllocator", ["void *", "void *"]),
    createTensorIn: (allocator, dims, type) => createTensorIn(allocator, dims, dims.length, type),
    tensorData: creating("GetTensorMutableData", ["void *"]),
    run: (session, inputNames, inputs, outputNames, outputs) =>
      run(session, null, inputNames, inputs, inputs.length, outputNames, outputs.length, outputs),
    releaseSessionOptions: bind("ReleaseSessionOptions", "void", ["void *"]),
    releaseSession: bind("ReleaseSession", "void", ["void *"]),
    releaseValue: bind("ReleaseValue", "void", ["void *"]),
    releaseAllocator: bind("ReleaseAllocator", "void", ["void *"]),
    releaseMemoryInfo: bind("ReleaseMemoryInfo", "void", ["void *"]),
  };
}

/** A zero-terminated string whose memory does not move while the array lives. */
export interface NativeName {
  readonly address: bigint;
  readonly bytes: Uint8Array;
}

export function nativeName(text: string): NativeName {
  const bytes = new Uint8Array(new ArrayBuffer(Buffer.byteLength(text) + 1));
  new TextEncoder().encodeInto(text, bytes);
  return { address: koffi.address(bytes), bytes };
}
