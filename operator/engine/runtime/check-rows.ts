import { attendsTo, NO_BLOCK, type SparseAttention } from "../model/sparse-attention.ts";
import type { RunnerLimits, StepRow } from "./model-runner.ts";

/** @throws RangeError on rows that make no sense, before anything is computed or written. */
export function checkRows(
  rows: readonly StepRow[],
  limits: RunnerLimits,
  vocabSize: number,
  hasSlot: (slot: number) => boolean,
  sparse?: SparseAttention,
): void {
  if (rows.length === 0) throw new RangeError("A step needs at least one row.");
  const written = new Map<number, number>();
  for (const [i, row] of rows.entries()) {
    const fail = (problem: string): never => {
      throw new RangeError(`Row ${i}: ${problem}.`);
    };
    const { tokens, past, blocks, adapters, logitsAt, targets, normalised } = row;
    if (tokens.length === 0) fail("no tokens");
    if (!Number.isInteger(past) || past < 0) fail(`past ${past}`);
    const end = past + tokens.length;
    if (end > limits.maxPositions) fail(`${end} positions are more than ${limits.maxPositions}`);
    if (!tokens.every((token) => token >= 0 && token < vocabSize)) fail("a token outside the vocabulary");
    if (blocks.length * limits.blockSize < end) fail(`${blocks.length} blocks do not hold ${end} positions`);
    const first = Math.floor(past / limits.blockSize);
    for (const [index, block] of blocks.entries()) {
      const isMissing = block === NO_BLOCK && sparse !== undefined && index < first;
      if (isMissing ? attendsTo(sparse, first, index) : !(block >= 0 && block < limits.blocks)) {
        fail(`a block outside the pool: ${block} at ${index}`);
      }
    }
    if (!logitsAt.every((offset) => offset >= 0 && offset < tokens.length)) fail("logitsAt outside its tokens");
    if (targets && normalised) fail("targets and normalisers at once");
    if (targets && targets.length !== logitsAt.length) fail("targets and logitsAt differ in length");
    if (targets && !targets.every((token) => token >= 0 && token < vocabSize)) fail("a target outside the vocabulary");
    for (const { slot, weight } of adapters) {
      if (!hasSlot(slot)) fail(`slot ${slot} holds no adapter`);
      if (!Number.isFinite(weight)) fail(`weight ${weight}`);
    }
    for (let index = first; index * limits.blockSize < end; index++) {
      const other = written.get(blocks[index]);
      if (other !== undefined) fail(`block ${blocks[index]} is written by row ${other} too`);
      written.set(blocks[index], i);
    }
  }
}
