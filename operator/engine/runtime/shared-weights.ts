import { closeSync, openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import koffi from "koffi";
import { ELEMENT_TYPES } from "../onnx/element-type.ts";
import { WEIGHTS_FILE, WEIGHTS_INDEX, type WeightsEntry } from "../onnx/serialise.ts";
import type { Handle, OrtApi } from "./ort-c-api.ts";

/** Whether graphs over one file of weights share it in memory: where the file can be mapped through libc. */
export const CAN_SHARE_WEIGHTS = process.platform === "linux";

/** Of Linux's mmap(2). */
const PROT_READ = 1;
const MAP_PRIVATE = 2;
const MAP_FAILED = 2n ** 64n - 1n;

const byFolder = new Map<string, SharedWeights>();

/**
 * Weights of a folder of graphs, mapped once and packed for the processor once, however many of the graphs are loaded.
 * ONNX Runtime keeps packed weights for several sessions only where the weights themselves are handed to it.
 */
export class SharedWeights {
  private readonly folder: string;
  private readonly api: OrtApi;
  private readonly unmap: () => void;
  private readonly values: readonly (readonly [name: string, value: Handle])[];
  private readonly container: Handle;
  private users = 0;

  private constructor(api: OrtApi, memory: Handle, folder: string) {
    const index = JSON.parse(readFileSync(join(folder, WEIGHTS_INDEX), "utf8")) as WeightsEntry[];
    const { address, unmap } = mapFile(
      join(folder, WEIGHTS_FILE),
      index.reduce((end, { offset, byteLength }) => Math.max(end, offset + byteLength), 0),
    );
    this.api = api;
    this.folder = folder;
    this.unmap = unmap;
    this.values = index.map(({ name, type, dims, offset, byteLength }) => {
      const shape = BigInt64Array.from(dims, BigInt);
      return [name, api.createTensorAt(memory, address + BigInt(offset), byteLength, shape, ELEMENT_TYPES[type])];
    });
    this.container = api.createPrepackedWeights();
  }

  /** One more session over a folder's weights; {@link release} when it is gone. @throws where it cannot be mapped */
  static acquire(api: OrtApi, memory: Handle, folder: string): SharedWeights {
    let weights = byFolder.get(folder);
    if (!weights) byFolder.set(folder, (weights = new SharedWeights(api, memory, folder)));
    weights.users++;
    return weights;
  }

  createSession(env: Handle, path: string, options: Handle): Handle {
    for (const [name, value] of this.values) this.api.addInitializer(options, name, value);
    return this.api.createSessionSharing(env, path, options, this.container);
  }

  /** The last user's release frees the memory: its session must be gone by then. */
  release(): void {
    if (--this.users > 0) return;
    byFolder.delete(this.folder);
    for (const [, value] of this.values) this.api.releaseValue(value);
    this.api.releasePrepackedWeights(this.container);
    this.unmap();
  }
}

function mapFile(path: string, length: number): { address: bigint; unmap: () => void } {
  const libc = koffi.load(null);
  const mmap = libc.func("mmap", "uintptr_t", ["uintptr_t", "size_t", "int", "int", "int", "int64_t"]);
  const munmap = libc.func("munmap", "int", ["uintptr_t", "size_t"]);
  const fd = openSync(path, "r");
  try {
    const address = BigInt(mmap(0, length, PROT_READ, MAP_PRIVATE, fd, 0));
    if (address === MAP_FAILED) throw new Error(`${path}: ${length} bytes cannot be mapped into memory.`);
    return { address, unmap: () => munmap(address, length) };
  } finally {
    closeSync(fd);
  }
}
