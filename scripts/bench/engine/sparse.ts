import type { Quantisation } from "../../../operator/engine/graph/matrices.ts";
import {
  attendsTo,
  describePattern,
  NO_BLOCK,
  type SparsePattern,
} from "../../../operator/engine/model/sparse-attention.ts";
import type { GraphModelRunner } from "../../../operator/engine/runtime/graph-model-runner.ts";
import type { StepRow } from "../../../operator/engine/runtime/model-runner.ts";
import { SHAPES, type ShapeName } from "../shapes.ts";
import { round3, type Turns, takeTurns } from "../timing.ts";
import { BLOCK_SIZE, openBenchRunner } from "./bench-runner.ts";

/** The scheduler's chunk of a long prompt, in tokens. */
const CHUNK = 256;
const CHUNK_BLOCKS = CHUNK / BLOCK_SIZE;

/** Local blocks and stride of Phi-3-small with one sink, and the same without a stride: as many blocks after any context. */
const PATTERNS: readonly SparsePattern[] = [
  { sinkBlocks: 1, localBlocks: 16, stride: 8 },
  { sinkBlocks: 1, localBlocks: 16, stride: 0 },
];

/** Milliseconds of a step, by what is attended to: `dense`, or a pattern as the command line takes it. */
type ByPattern = Readonly<Record<string, number>>;

/** What steps take after so many tokens, dense and with blocks left out, all in turn. */
interface SparseFigures {
  readonly decodeB1: ByPattern;
  readonly decodeB4: ByPattern;
  /** One row's chunk of 256 tokens. */
  readonly prefill?: ByPattern;
  /** Bytes of keys and values that four rows keep. */
  readonly kvMb: ByPattern;
}

/**
 * Steps after long contexts. What the cache holds is copied from one computed block, for reading a context takes minutes
 * and times do not depend on it; every row has memory of its own, and only for the blocks that it attends to.
 *
 * @param prefill whether a chunk of a prompt is measured as well
 * @param contexts cached tokens; those that the model has no positions for are left out
 */
export async function benchSparse(
  shape: ShapeName,
  quantisation: Quantisation,
  contexts: readonly number[],
  turns: Turns,
  prefill: boolean,
): Promise<Record<string, SparseFigures>> {
  const figures: Record<string, SparseFigures> = {};
  for (const context of contexts.filter((tokens) => tokens <= SHAPES[shape].maxPositions)) {
    const variants = await Promise.all(
      [undefined, ...PATTERNS].map((pattern) => LongRows.open(shape, quantisation, context, pattern)),
    );
    for (const variant of variants) await variant.fill();
    const measure = async (step: (rows: LongRows) => Promise<unknown>) => {
      const steps = Object.fromEntries(variants.map((rows) => [rows.name, () => step(rows)]));
      const timings = await takeTurns(steps, turns);
      return Object.fromEntries(Object.entries(timings).map(([name, { median }]) => [name, round3(median)]));
    };
    figures[`c${context}`] = {
      decodeB1: await measure((rows) => rows.decode(1)),
      decodeB4: await measure((rows) => rows.decode(4)),
      ...(prefill && { prefill: await measure((rows) => rows.prefill()) }),
      kvMb: Object.fromEntries(variants.map((rows) => [rows.name, round3(rows.kvBytes / 1e6)])),
    };
    for (const variant of variants) await variant.close();
  }
  return figures;
}

/** Four rows with a long past, and block tables without the blocks that nobody attends to. */
class LongRows {
  readonly name: string;
  private readonly runner: GraphModelRunner;
  private readonly past: number;
  private readonly tables: readonly Int32Array[];

  /** @param context cached tokens; a chunk of a prompt is read at the end of them */
  static async open(shape: ShapeName, quantisation: Quantisation, context: number, sparse?: SparsePattern) {
    const past = context - CHUNK;
    const first = past / BLOCK_SIZE;
    const table = Array.from({ length: first + CHUNK_BLOCKS }, (_, block) =>
      // The chunk's own blocks come last, and what its first block attends to is what all of it needs.
      block >= first || sparse === undefined || attendsTo(sparse, first, block) ? block : NO_BLOCK,
    );
    const kept = table.filter((block) => block !== NO_BLOCK).length;
    const size = { shape, quantisation, rows: 4, length: kept * BLOCK_SIZE, slots: 0 };
    const runner = await openBenchRunner(sparse ? { ...size, sparse } : size);
    const tables = Array.from({ length: 4 }, (_, row) => {
      let next = row * kept;
      return Int32Array.from(table, (block) => (block === NO_BLOCK ? NO_BLOCK : next++));
    });
    return new LongRows(sparse ? describePattern(sparse) : "dense", runner, past, tables);
  }

  private constructor(name: string, runner: GraphModelRunner, past: number, tables: readonly Int32Array[]) {
    this.name = name;
    this.runner = runner;
    this.past = past;
    this.tables = tables;
  }

  get kvBytes(): number {
    return this.runner.memory.kv;
  }

  async fill(): Promise<void> {
    await this.runner.step([{ ...this.row(0, BLOCK_SIZE), past: 0, blocks: Int32Array.of(0) }]);
    for (let block = 1; block < this.runner.limits.blocks; block++) this.runner.copyBlock(0, block);
  }

  decode(rows: number): Promise<unknown> {
    return this.runner.step(Array.from({ length: rows }, (_, row) => this.row(row, 1)));
  }

  prefill(): Promise<unknown> {
    return this.runner.step([this.row(0, CHUNK)]);
  }

  close(): Promise<void> {
    return this.runner.close();
  }

  private row(row: number, count: number): StepRow {
    return {
      tokens: Int32Array.from(
        { length: count },
        (_, i) => 3 + ((row * 131 + i * 7) % (this.runner.config.vocabSize - 3)),
      ),
      past: this.past,
      blocks: this.tables[row],
      adapters: [],
      logitsAt: Int32Array.of(count - 1),
    };
  }
}
