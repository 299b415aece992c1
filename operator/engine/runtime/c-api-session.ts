import { ELEMENT_TYPES } from "../onnx/element-type.ts";
import { type Handle, type NativeName, nativeName, type OrtApi } from "./ort-c-api.ts";
import type { DeviceSession, DeviceTensor, HostTensor, WantedOutput } from "./session.ts";

/** Who counts what runs move between host and device. */
export interface TrafficCounter {
  uploaded: number;
  fetched: number;
}

export interface CApiMemory {
  readonly api: OrtApi;
  /** Of the host. */
  readonly host: Handle;
  /** Of the device, where there is one. */
  readonly device?: Handle;
  readonly traffic?: TrafficCounter;
}

/** A tensor over memory that is not its own; holding an array keeps its memory alive. */
interface Bound {
  readonly value: Handle;
  readonly data?: HostTensor["data"];
}

/** A session of the C API. Tensors are used where they lie, in host memory or on the device. */
export class CApiSession implements DeviceSession {
  private readonly memory: CApiMemory;
  private readonly session: Handle;
  private readonly released: () => void;
  private readonly inputs = new Map<string, Bound>();
  private readonly outputs = new Map<string, Bound & { readonly dims: string }>();
  private readonly kept = new Map<string, Bound>();
  private readonly names = new Map<string, NativeName>();
  private inputNames = new BigUint64Array(0);

  /** @param released called when the session is gone, to give back what only it used */
  constructor(memory: CApiMemory, session: Handle, released: () => void = () => {}) {
    this.memory = memory;
    this.session = session;
    this.released = released;
  }

  bind(name: string, tensor: HostTensor | DeviceTensor): void {
    const previous = this.inputs.get(name);
    this.inputs.set(name, this.tensor(tensor));
    if (previous) this.memory.api.releaseValue(previous.value);
    else this.inputNames = BigUint64Array.from(this.inputs.keys(), (key) => this.name(key));
  }

  keep(name: string, tensor: DeviceTensor): void {
    const previous = this.kept.get(name);
    this.kept.set(name, this.tensor(tensor));
    if (previous) this.memory.api.releaseValue(previous.value);
  }

  async run(wanted: readonly WantedOutput[]): Promise<Float32Array[]> {
    return this.compute(wanted);
  }

  runNow(): void {
    this.compute([]);
  }

  async release(): Promise<void> {
    const { api } = this.memory;
    for (const values of [this.inputs, this.outputs, this.kept]) {
      for (const { value } of values.values()) api.releaseValue(value);
      values.clear();
    }
    api.releaseSession(this.session);
    this.released();
  }

  private compute(wanted: readonly WantedOutput[]): Float32Array[] {
    const { api, traffic } = this.memory;
    const fetched = wanted.map((output) => this.output(output));
    const inputs = [...this.inputs.values()];
    const results = [...fetched, ...this.kept.values()];
    const names = [...wanted.map(({ name }) => name), ...this.kept.keys()];
    api.run(
      this.session,
      this.inputNames,
      BigUint64Array.from(inputs, ({ value }) => value),
      BigUint64Array.from(names, (name) => this.name(name)),
      BigUint64Array.from(results, ({ value }) => value),
    );
    if (traffic) {
      traffic.uploaded += hostBytes(inputs);
      traffic.fetched += hostBytes(fetched);
    }
    return fetched.map(({ data }) => data as Float32Array);
  }

  /** Where an output is written; kept while its shape stays the same. */
  private output({ name, dims }: WantedOutput): Bound {
    const key = dims.join();
    const previous = this.outputs.get(name);
    if (previous?.dims === key) return previous;
    const data = new Float32Array(dims.reduce((total, size) => total * size, 1));
    const bound = { ...this.tensor({ type: "float32", dims, data }), dims: key };
    if (previous) this.memory.api.releaseValue(previous.value);
    this.outputs.set(name, bound);
    return bound;
  }

  private tensor(tensor: HostTensor | DeviceTensor): Bound {
    const { api, host, device } = this.memory;
    const type = ELEMENT_TYPES[tensor.type];
    const shape = BigInt64Array.from(tensor.dims, BigInt);
    if ("buffer" in tensor) {
      if (device === undefined) throw new Error("A tensor on a device needs a session on that device.");
      return { value: api.createTensorAt(device, tensor.buffer.data, tensor.buffer.bytes, shape, type) };
    }
    const { data } = tensor;
    // Touching `buffer` moves a short array, which V8 keeps inside the object, to memory that stays where it is.
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    return { value: api.createTensor(host, bytes, shape, type), data };
  }

  private name(text: string): bigint {
    let name = this.names.get(text);
    if (!name) this.names.set(text, (name = nativeName(text)));
    return name.address;
  }
}

function hostBytes(tensors: readonly Bound[]): number {
  return tensors.reduce((total, { data }) => total + (data?.byteLength ?? 0), 0);
}
