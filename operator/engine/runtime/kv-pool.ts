import { poolInput } from "../graph/attention.ts";
import type { ModelConfig } from "../model/config-types.ts";
import type { GraphSession } from "./session.ts";

/**
 * Keys and values of all cached tokens: per layer one array `[blocks + 1, kvHeads, blockSize, headDim]` each. The
 * extra block stays zero and fills up the tables of shorter rows.
 */
export class KvPool {
  readonly blocks: number;
  readonly blockSize: number;
  private readonly kvHeads: number;
  private readonly headDim: number;
  private readonly keys: Float32Array[];
  private readonly values: Float32Array[];

  constructor(config: ModelConfig, blocks: number, blockSize: number) {
    this.blocks = blocks;
    this.blockSize = blockSize;
    this.kvHeads = config.kvHeads;
    this.headDim = config.headDim;
    const make = () => new Float32Array((blocks + 1) * this.blockFloats);
    this.keys = Array.from({ length: config.layers }, make);
    this.values = Array.from({ length: config.layers }, make);
  }

  static bytes(config: ModelConfig, blocks: number, blockSize: number): number {
    return 2 * config.layers * (blocks + 1) * config.kvHeads * blockSize * config.headDim * 4;
  }

  bind(session: GraphSession): void {
    const dims = [(this.blocks + 1) * this.kvHeads, this.blockSize, this.headDim];
    for (const [layer, data] of this.keys.entries()) {
      session.bind(poolInput(layer, "keys"), { type: "float32", dims, data });
    }
    for (const [layer, data] of this.values.entries()) {
      session.bind(poolInput(layer, "values"), { type: "float32", dims, data });
    }
  }

  /**
   * Row `row` of a table `[rows, kvHeads, width]`: where each head's blocks lie, padded with the zero block.
   * @param read indices in `blocks` of those that are read
   */
  fillTable(table: Int32Array, row: number, width: number, blocks: Int32Array, read: Int32Array): void {
    for (let head = 0; head < this.kvHeads; head++) {
      const start = (row * this.kvHeads + head) * width;
      for (let i = 0; i < width; i++)
        table[start + i] = (i < read.length ? blocks[read[i]] : this.blocks) * this.kvHeads + head;
    }
  }

  /**
   * Writes a row's new keys and values.
   * @param kv `[2 · layers, rows, kvHeads, width, headDim]`, keys of every layer and then values of every layer
   */
  append(kv: Float32Array, rows: number, width: number, row: number, past: number, count: number, blocks: Int32Array) {
    const { kvHeads, headDim, blockSize } = this;
    const layers = this.keys.length;
    for (let side = 0; side < 2 * layers; side++) {
      const pool = side < layers ? this.keys[side] : this.values[side - layers];
      for (let head = 0; head < kvHeads; head++) {
        const source = ((side * rows + row) * kvHeads + head) * width * headDim;
        for (let done = 0; done < count; ) {
          const position = past + done;
          const offset = position % blockSize;
          const run = Math.min(count - done, blockSize - offset);
          const block = blocks[Math.floor(position / blockSize)];
          const target = ((block * kvHeads + head) * blockSize + offset) * headDim;
          const from = source + done * headDim;
          const floats = run * headDim;
          // A view costs more than it saves for the one token of a decode step.
          if (floats > 512) pool.set(kv.subarray(from, from + floats), target);
          else for (let i = 0; i < floats; i++) pool[target + i] = kv[from + i];
          done += run;
        }
      }
    }
  }

  /** Whether a row's new keys and values of the last layer, which everything before flows into, are finite. */
  isFinite(kv: Float32Array, rows: number, width: number, row: number, count: number): boolean {
    const layers = this.keys.length;
    let sum = 0;
    for (const side of [layers - 1, 2 * layers - 1]) {
      for (let head = 0; head < this.kvHeads; head++) {
        const start = ((side * rows + row) * this.kvHeads + head) * width * this.headDim;
        // Infinities of opposite signs add up to NaN: nothing cancels.
        for (let i = start; i < start + count * this.headDim; i++) sum += kv[i];
      }
    }
    return Number.isFinite(sum);
  }

  copyBlock(from: number, to: number): void {
    const size = this.blockFloats;
    for (const pool of [...this.keys, ...this.values]) pool.copyWithin(to * size, from * size, (from + 1) * size);
  }

  private get blockFloats(): number {
    return this.kvHeads * this.blockSize * this.headDim;
  }
}
