import { POOL_SIDES, poolInput, poolRowsInput, poolRowsOutput } from "../graph/attention.ts";
import { copyRowsGraph } from "../graph/pool-graphs.ts";
import type { ModelConfig } from "../model/config-types.ts";
import { KvPool } from "./kv-pool.ts";
import type { Device, DeviceBuffer, DeviceSession } from "./session.ts";

/**
 * Keys and values of all cached tokens on a device: per layer `[blocks + 1, blockSize, kvHeads, headDim]` each, so that
 * storing a token is one row. The extra block stays zero. Graphs store what is new themselves; nothing of the pools
 * crosses to the host.
 */
export class DeviceKvPool {
  readonly bytes: number;
  private readonly config: ModelConfig;
  private readonly blocks: number;
  private readonly blockSize: number;
  private readonly pools: readonly Record<(typeof POOL_SIDES)[number], DeviceBuffer>[];
  private readonly copier: DeviceSession;

  constructor(device: Device, config: ModelConfig, blocks: number, blockSize: number) {
    this.config = config;
    this.blocks = blocks;
    this.blockSize = blockSize;
    this.bytes = KvPool.bytes(config, blocks, blockSize);
    const one = this.bytes / (2 * config.layers);
    this.pools = Array.from({ length: config.layers }, () => ({
      keys: device.allocate(one),
      values: device.allocate(one),
    }));
    this.copier = device.build(copyRowsGraph(config));
    this.bindRows(this.copier);
  }

  /** Binds the pools to a step's graph, which reads their blocks and writes their rows. */
  bind(session: DeviceSession): void {
    const { kvHeads, headDim } = this.config;
    const dims = [this.blocks + 1, this.blockSize, kvHeads, headDim];
    for (const [layer, pools] of this.pools.entries()) {
      for (const side of POOL_SIDES) {
        session.bind(poolInput(layer, side), { type: "float32", dims, buffer: pools[side] });
      }
    }
    this.bindRows(session);
  }

  /** The blocks that hold a row's cached tokens, padded to `width` with the block of zeros. */
  tableRow(blocks: Int32Array, past: number, width: number): Int32Array {
    const row = new Int32Array(width).fill(this.blocks);
    row.set(blocks.subarray(0, Math.ceil(past / this.blockSize)));
    return row;
  }

  /** The pools' rows for `count` positions from `past` on. */
  places(blocks: Int32Array, past: number, count: number): BigInt64Array {
    return BigInt64Array.from({ length: count }, (_, i) => {
      const position = past + i;
      return BigInt(blocks[Math.floor(position / this.blockSize)] * this.blockSize + (position % this.blockSize));
    });
  }

  /** Makes `count` positions from `past` on hold zeros again. */
  erase(blocks: Int32Array, past: number, count: number): void {
    const zero = BigInt(this.blocks * this.blockSize);
    this.copyRows(new BigInt64Array(count).fill(zero), this.places(blocks, past, count));
  }

  copyBlock(from: number, to: number): void {
    const [source, target] = [from, to].map((block) => this.places(Int32Array.of(block), 0, this.blockSize));
    this.copyRows(source, target);
  }

  async release(): Promise<void> {
    await this.copier.release();
  }

  private copyRows(from: BigInt64Array, to: BigInt64Array): void {
    this.copier.bind("from", { type: "int64", dims: [from.length], data: from });
    this.copier.bind("to", { type: "int64", dims: [to.length, 1], data: to });
    this.copier.runNow();
  }

  private bindRows(session: DeviceSession): void {
    const { kvHeads, headDim } = this.config;
    const dims = [(this.blocks + 1) * this.blockSize, kvHeads * headDim];
    for (const [layer, pools] of this.pools.entries()) {
      for (const side of POOL_SIDES) {
        const rows = { type: "float32", dims, buffer: pools[side] } as const;
        session.bind(poolRowsInput(layer, side), rows);
        session.keep(poolRowsOutput(layer, side), rows);
      }
    }
  }
}
