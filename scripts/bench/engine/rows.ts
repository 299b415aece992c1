import type { ModelRunner, RowAdapter, StepOutput, StepRow } from "../../../operator/engine/runtime/model-runner.ts";
import { uniform, xorshift32 } from "../random.ts";

/** Rows with block tables of their own, for driving a runner without a scheduler. */
export class BenchRows {
  private readonly runner: ModelRunner;
  private readonly tables: Int32Array[];
  private readonly tokens: Int32Array;

  /** @throws RangeError when the runner's pool does not hold `rows` sequences of `length` tokens */
  constructor(runner: ModelRunner, rows: number, length: number) {
    const { blocks, blockSize } = runner.limits;
    const perRow = Math.ceil(length / blockSize);
    if (rows * perRow > blocks) throw new RangeError(`${rows} rows need ${rows * perRow} blocks, there are ${blocks}`);
    this.runner = runner;
    this.tables = Array.from({ length: rows }, (_, row) =>
      Int32Array.from({ length: perRow }, (_, i) => row * perRow + i),
    );
    const random = xorshift32(11);
    // The first ids are special tokens; stay clear of them.
    this.tokens = Int32Array.from(
      { length: 4096 },
      () => 3 + Math.floor(uniform(random) * (runner.config.vocabSize - 3)),
    );
  }

  /** One token for each of the first `adapters.length` rows after `past` cached ones. */
  decode(past: number, adapters: readonly (readonly RowAdapter[])[]): Promise<StepOutput> {
    return this.runner.step(adapters.map((uses, row) => this.row(row, past, 1, uses)));
  }

  /** `count` tokens of one row after `past`; the distribution after the last is wanted. */
  prefill(row: number, past: number, count: number, adapters: readonly RowAdapter[]): Promise<StepOutput> {
    return this.runner.step([this.row(row, past, count, adapters)]);
  }

  /** Fills the caches of the first `rows` rows with `length` tokens, in chunks. */
  async fill(rows: number, length: number, chunk = 256): Promise<void> {
    for (let row = 0; row < rows; row++) {
      for (let past = 0; past < length; past += chunk) {
        await this.prefill(row, past, Math.min(chunk, length - past), []);
      }
    }
  }

  private row(row: number, past: number, count: number, adapters: readonly RowAdapter[]): StepRow {
    const { blockSize } = this.runner.limits;
    const from = (past + row * 131) % (this.tokens.length - count);
    return {
      tokens: this.tokens.subarray(from, from + count),
      past,
      blocks: this.tables[row].subarray(0, Math.ceil((past + count) / blockSize)),
      adapters,
      logitsAt: Int32Array.of(count - 1),
    };
  }
}
