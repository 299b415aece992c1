import type { ModelConfig } from "../../../../operator/engine/model/config-types.ts";
import type { LoadedAdapter } from "../../../../operator/engine/model/lora.ts";
import type { SparseAttention } from "../../../../operator/engine/model/sparse-attention.ts";
import type {
  ModelRunner,
  RunnerLimits,
  StepOutput,
  StepRow,
} from "../../../../operator/engine/runtime/model-runner.ts";
import { TINY } from "../adapters/tiny-adapter.ts";
import { blockSparse } from "../reference/forward.ts";

function mix(...values: number[]): number {
  let h = 0x9e3779b9;
  for (const value of values) {
    h = Math.imul(h ^ value, 0x85ebca6b);
    h = Math.imul(h ^ (h >>> 15), 0xc2b2ae35);
    h ^= h >>> 13;
  }
  return h >>> 0;
}

/**
 * A language model without meaning: every position leaves a number in its block that depends on its token, its place,
 * the adapters and all numbers before it that it attends to, read back through the block table; logits are a hash of
 * their sum. A wrong table, a block overwritten, a stale slot or a wrong position changes every token after it.
 */
export class ToyRunner implements ModelRunner {
  readonly config: ModelConfig;
  readonly limits: RunnerLimits;
  readonly sparse: SparseAttention | undefined;
  readonly memory = { weights: 0, kv: 0, adapters: 0 };
  private readonly cells: Uint32Array;
  private readonly slots: (number | undefined)[];
  /** Seen so far, for tests that look at how steps are made up. */
  readonly steps: { rows: number; tokens: number; slots: number[][] }[] = [];
  computedTokens = 0;
  copies = 0;
  /** Called before each step. */
  onStep: (rows: readonly StepRow[]) => void = () => {};
  /** Rows with this slot content overflow. */
  broken: string | undefined;
  private readonly hashes: (string | undefined)[];

  constructor(limits: Partial<RunnerLimits> = {}, sparse?: SparseAttention) {
    this.config = TINY;
    this.sparse = sparse;
    this.limits = { blocks: 64, blockSize: 16, slots: 4, maxRank: 8, maxPositions: 512, ...limits };
    this.cells = new Uint32Array(this.limits.blocks * this.limits.blockSize).fill(0xdeadbeef);
    this.slots = new Array(this.limits.slots);
    this.hashes = new Array(this.limits.slots);
  }

  async step(rows: readonly StepRow[]): Promise<StepOutput> {
    this.onStep(rows);
    this.check(rows);
    this.steps.push({
      rows: rows.length,
      tokens: rows.reduce((sum, row) => sum + row.tokens.length, 0),
      slots: rows.map((row) => row.adapters.map((adapter) => adapter.slot)),
    });
    const output: StepOutput = { logits: [], logprobs: [], normalisers: [], finite: [] };
    for (const row of rows) {
      const states = this.compute(row);
      const logits = [...row.logitsAt].map((at) => this.logitsOf(states[at]));
      if (row.targets === undefined) {
        output.logits.push(Float32Array.from(logits.flatMap((values) => [...values])));
        output.logprobs.push(new Float32Array(0));
      } else {
        output.logits.push(new Float32Array(0));
        output.logprobs.push(Float32Array.from(row.targets, (target, i) => logProbability(logits[i], target)));
      }
      output.normalisers.push(Float32Array.from(row.normalised ? logits : [], logSumExp));
      output.finite.push(
        !row.adapters.some(({ slot }) => this.broken !== undefined && this.hashes[slot] === this.broken),
      );
    }
    return output;
  }

  loadSlot(slot: number, adapter: LoadedAdapter): void {
    this.slots[slot] = Number.parseInt(adapter.hash.slice(0, 8), 16);
    this.hashes[slot] = adapter.hash;
  }

  clearSlot(slot: number): void {
    this.slots[slot] = undefined;
  }

  copyBlock(from: number, to: number): void {
    const { blockSize } = this.limits;
    this.copies++;
    this.cells.copyWithin(to * blockSize, from * blockSize, (from + 1) * blockSize);
  }

  async close(): Promise<void> {}

  private compute(row: StepRow): number[] {
    const adapters = row.adapters.map(({ slot, weight }) => mix(this.slots[slot]!, Math.round(weight * 1000)));
    const adapter = adapters.reduce((sum, value) => (sum + value) >>> 0, 1);
    this.computedTokens += row.tokens.length;
    return [...row.tokens].map((token, i) => {
      const at = row.past + i;
      let sum = 0;
      for (let before = 0; before < at; before++) {
        if (this.sees(at, before)) sum = (sum + this.cells[this.cell(row, before)]) >>> 0;
      }
      const value = mix(token, at, adapter, sum);
      this.cells[this.cell(row, at)] = value;
      return (sum + value) >>> 0;
    });
  }

  private sees(at: number, before: number): boolean {
    if (this.sparse === undefined) return true;
    const { blockSize, sinkBlocks, localBlocks, stride } = this.sparse;
    return blockSparse(blockSize, sinkBlocks, localBlocks, stride)(at, before);
  }

  private cell(row: StepRow, at: number): number {
    const { blockSize } = this.limits;
    const block = row.blocks[Math.floor(at / blockSize)];
    if (!(block >= 0)) throw new RangeError(`position ${at} is read and its block was given back`);
    return block * blockSize + (at % blockSize);
  }

  private logitsOf(state: number): Float32Array {
    return Float32Array.from({ length: this.config.vocabSize }, (_, token) => (mix(state, token) / 2 ** 32) * 8);
  }

  private check(rows: readonly StepRow[]): void {
    const { blocks, blockSize, slots, maxPositions } = this.limits;
    const written = new Set<number>();
    if (rows.length === 0) throw new RangeError("a step without rows");
    for (const row of rows) {
      const end = row.past + row.tokens.length;
      if (row.tokens.length === 0 || end > maxPositions)
        throw new RangeError(`${row.past} + ${row.tokens.length} tokens`);
      if (row.blocks.length * blockSize < end) throw new RangeError("the block table is too short");
      const least = this.sparse === undefined ? 0 : -1;
      for (const block of row.blocks) if (!(block >= least && block < blocks)) throw new RangeError(`block ${block}`);
      for (const { slot } of row.adapters) {
        if (!(slot >= 0 && slot < slots) || this.slots[slot] === undefined)
          throw new RangeError(`slot ${slot} is empty`);
      }
      for (let at = row.past; at < end; at++) {
        const cell = this.cell(row, at);
        if (written.has(cell)) throw new RangeError("two rows write the same position");
        written.add(cell);
      }
    }
  }
}

function logProbability(logits: Float32Array, target: number): number {
  return logits[target] - logSumExp(logits);
}

function logSumExp(logits: Float32Array): number {
  return Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit), 0));
}
