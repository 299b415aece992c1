import assert from "node:assert/strict";
import { dequantise, quantise } from "../../../../operator/engine/model/quantise.ts";
import {
  createModelRunner,
  type GraphModelRunner,
  type RunnerOptions,
} from "../../../../operator/engine/runtime/graph-model-runner.ts";
import type { RowAdapter, StepRow } from "../../../../operator/engine/runtime/model-runner.ts";
import type { Provider } from "../../../../operator/engine/runtime/session.ts";
import type { ReferenceModel } from "../reference/forward.ts";
import { type RandomModel, seededRandom, temporaryFolder } from "../reference/random-model.ts";

export const TOLERANCE = 2e-6;
const cache = temporaryFolder();
/** Tests of one runner go over another provider where this says so; comparisons of bits hold on the processor only. */
const provider = process.env.OPENLEDGER_TEST_PROVIDER as Provider | undefined;

export async function runnerOf(model: RandomModel, options: Partial<RunnerOptions> = {}): Promise<GraphModelRunner> {
  return createModelRunner({
    model: model.folder,
    quantisation: "f32",
    exact: true,
    threads: 2,
    blocks: 64,
    blockSize: 8,
    slots: 4,
    maxRank: 8,
    cache,
    provider,
    ...options,
  });
}

export function reference(model: RandomModel): ReferenceModel {
  return { config: model.config, weights: (name) => model.tensors.get(name)?.data };
}

/** The same model with every large matrix rounded as the engine stores it. */
export function quantisedReference(model: RandomModel, bits: 4 | 8): ReferenceModel {
  const rounded = new Map<string, Float32Array>();
  for (const { name, shape, data } of model.tensors.values()) {
    const matrix = shape.length === 2 && shape[1] % 32 === 0;
    rounded.set(name, matrix ? dequantise(quantise(data, shape[1], bits), bits) : data);
  }
  return { config: model.config, weights: (name) => rounded.get(name) };
}

export function tokensOf(model: RandomModel, length: number, seed: number): Int32Array {
  const random = seededRandom(seed);
  return Int32Array.from({ length }, () => Math.floor(random() * model.config.vocab_size));
}

export interface Sequence {
  tokens: Int32Array;
  blocks: Int32Array;
  adapters?: RowAdapter[];
}

export function sequence(tokens: Int32Array, firstBlock: number, adapters: RowAdapter[] = []): Sequence {
  return { tokens, blocks: Int32Array.from({ length: 16 }, (_, i) => firstBlock + i), adapters };
}

/** The row that feeds tokens `from` to `to` of a sequence and asks for the distribution after each. */
export function row({ tokens, blocks, adapters = [] }: Sequence, from: number, to: number): StepRow {
  const count = to - from;
  return {
    tokens: tokens.subarray(from, to),
    past: from,
    blocks: blocks.subarray(0, Math.ceil(to / 8)),
    adapters,
    logitsAt: Int32Array.from({ length: count }, (_, i) => i),
  };
}

export function splitRows(flat: Float32Array, width: number): Float32Array[] {
  return Array.from({ length: flat.length / width }, (_, i) => flat.slice(i * width, (i + 1) * width));
}

/** Feeds sequences by the given boundaries, all of them in each step, and returns logits after every token. */
export async function feed(
  runner: GraphModelRunner,
  sequences: Sequence[],
  boundaries: number[][],
): Promise<Float32Array[][]> {
  const logits: Float32Array[][] = sequences.map(() => []);
  for (let step = 0; boundaries.some((list) => step + 1 < list.length); step++) {
    const active = sequences.map((_, i) => i).filter((i) => step + 1 < boundaries[i].length);
    const rows = active.map((i) => row(sequences[i], boundaries[i][step], boundaries[i][step + 1]));
    const out = await runner.step(rows);
    assert.ok(out.finite.every(Boolean));
    for (const [j, i] of active.entries()) logits[i].push(...splitRows(out.logits[j], runner.config.vocabSize));
  }
  return logits;
}
