import type { AttentionKind } from "../graph/attention.ts";
import type { LoraKind } from "../graph/lora-delta.ts";
import type { Quantisation } from "../graph/matrices.ts";
import { readModelConfig } from "../model/config.ts";
import type { ModelConfig } from "../model/config-types.ts";
import type { LoadedAdapter } from "../model/lora.ts";
import { RopeTable } from "../model/rope.ts";
import type { SparseAttention, SparsePattern } from "../model/sparse-attention.ts";
import type { ElementType } from "../onnx/element-type.ts";
import type { TensorData } from "../onnx/graph-builder.ts";
import { checkRows } from "./check-rows.ts";
import { type CompiledModel, cacheFolder, compileModel, type GraphForm } from "./compiled-model.ts";
import { DeviceMemory } from "./device-memory.ts";
import { HostMemory } from "./host-memory.ts";
import { type AlignedPlan, type GatheredPlan, planLora } from "./lora-plan.ts";
import type { ModelRunner, RunnerLimits, RunnerMemory, StepOutput, StepRow } from "./model-runner.ts";
import { preferredRuntime } from "./preferred-runtime.ts";
import { hasMatrixUnits, sums8BitProducts } from "./processor.ts";
import type { DeviceTraffic, GraphSession, Provider, Runtime } from "./session.ts";
import { layOut, raggedPlaces, type StepLayout } from "./step-layout.ts";
import type { StepMemory } from "./step-memory.ts";

export interface RunnerOptions {
  /** Hugging Face model folder. */
  readonly model: string;
  readonly quantisation: Quantisation;
  /** Results that do not depend on what else runs; about half the speed with q4 and q8. */
  readonly exact: boolean;
  readonly threads: number;
  /** Blocks of the key-value pool, and tokens per block. */
  readonly blocks: number;
  readonly blockSize: number;
  /** Adapters resident at once, and the largest rank. */
  readonly slots: number;
  readonly maxRank: number;
  readonly provider?: Provider;
  /** Leaves blocks of the past out. On the processor only. Default: every token attends to all before it. */
  readonly sparse?: SparsePattern | undefined;
  /**
   * Each graph that is used keeps memory, its own packed weights included where they cannot be shared. `few` limits
   * them to two, for models that take most of the memory; steps that a special graph would serve better are then slower. Default `all`.
   */
  readonly graphs?: "all" | "few";
  /**
   * Keeps 8-bit copies of quantised matrices for steps of several tokens (`MatrixOptions.int8`), one byte per weight
   * and as much again while they are packed. Default: where the processor has matrix units for them. Not in exact mode,
   * nor on processors whose sums of 8-bit products are cut off.
   */
  readonly int8?: boolean;
  /** Folder for compiled graphs. Default `graphs` in {@link cacheHome}. */
  readonly cache?: string;
  readonly runtime?: Runtime;
}

/** Steps of so many tokens wait for the memory of the weights: codes of few bits are faster there than 8-bit products. */
const FEW_TOKENS = 2;

/**
 * Graphs that serving comes to use and tokens that make a step use them, the soonest needed first; blends are rare
 * enough to be loaded when they come.
 */
const SERVING: readonly (readonly [AttentionKind, LoraKind, number])[] = [
  ["ragged", "none", 8],
  ["decode", "none", 8],
  ["decode", "none", 1],
  ["flash", "none", 8],
  ["ragged", "single", 8],
  ["decode", "single", 8],
  ["decode", "aligned", 8],
  ["decode", "aligned", 1],
  ["flash", "aligned", 8],
];

/** Steps that one graph has computed. */
export interface GraphSteps {
  readonly attention: AttentionKind;
  readonly adapters: LoraKind;
  steps: number;
}

/**
 * Loads a model folder.
 *
 * @throws ModelFormatError when the folder cannot be served
 * @throws RangeError when 8-bit copies are asked for and the processor cannot sum their products
 */
export async function createModelRunner(options: RunnerOptions): Promise<GraphModelRunner> {
  const config = readModelConfig(options.model);
  const { quantisation, exact, provider = "cpu" } = options;
  const fits = quantisation !== "f32" && !exact && provider === "cpu";
  const int8 = fits && (options.int8 ?? hasMatrixUnits());
  if (int8 && !sums8BitProducts()) {
    throw new RangeError("int8: this processor has neither VNNI nor AMX; its sums of 8-bit products are cut off.");
  }
  const compiled = await compileModel(options.model, config, { quantisation, exact, int8 }, cacheFolder(options.cache));
  return new GraphModelRunner(config, compiled, { ...options, int8 });
}

/**
 * A {@link ModelRunner} over ONNX graphs. Several graphs share one file of weights, one for each way in which rows
 * attend and use adapters. A graph is loaded when a step first needs it.
 *
 * In exact mode a row's result must not depend on its batch. Products of one row take another code path than products
 * of several, so a lone token is computed twice side by side.
 */
export class GraphModelRunner implements ModelRunner {
  readonly config: ModelConfig;
  readonly limits: RunnerLimits;
  /** Hex SHA-256 of the model's files. */
  readonly modelHash: string;
  readonly sparse: SparseAttention | undefined;
  private readonly compiled: CompiledModel;
  private readonly options: RunnerOptions;
  private readonly runtime: Runtime;
  private readonly provider: Provider;
  private readonly pools: StepMemory;
  private readonly rope: RopeTable;
  private readonly sessions = new Map<string, Promise<GraphSession>>();
  /** Range of slots that each loaded graph with adapters reads at present. */
  private readonly bound = new Map<GraphSession, string>();
  private readonly counts = new Map<GraphSession, GraphSteps>();
  private readonly minimumRows: 1 | 2;
  /** Blocks of the past by step and row. */
  private readonly pastBlocks = { attended: 0, leftOut: 0 };

  constructor(config: ModelConfig, compiled: CompiledModel, options: RunnerOptions) {
    const { blocks, blockSize, slots, maxRank, sparse } = options;
    if (sparse && (options.provider ?? "cpu") !== "cpu") {
      throw new RangeError(`Block-sparse attention runs on the processor, not on ${options.provider}.`);
    }
    this.config = config;
    this.sparse = sparse && { ...sparse, blockSize };
    this.compiled = compiled;
    this.options = options;
    this.provider = options.provider ?? "cpu";
    this.runtime = options.runtime ?? preferredRuntime();
    this.modelHash = compiled.modelHash;
    this.minimumRows = options.exact ? 2 : 1;
    this.rope = new RopeTable(config);
    this.limits = { blocks, blockSize, slots, maxRank, maxPositions: config.maxPositions };
    this.pools = openPools(config, this.limits, this.runtime, this.provider);
  }

  get memory(): RunnerMemory {
    const { kvBytes, slotBytes } = this.pools;
    return { weights: this.compiled.weightBytes * this.weightCopies(), kv: kvBytes, adapters: slotBytes };
  }

  /** Where weights, pools and adapters are; `cpu` is host memory. */
  get place(): Provider {
    return this.pools.place;
  }

  /** Blocks of the past that rows of steps have read so far, and those that they left out. */
  get blocksAttended(): { readonly attended: number; readonly leftOut: number } {
    return this.pastBlocks;
  }

  /** Bytes that crossed between host and device so far; null where nothing is kept on a device. */
  get traffic(): DeviceTraffic | null {
    return this.pools.traffic;
  }

  get graphsLoaded(): number {
    return this.sessions.size;
  }

  /** Graphs that have computed something, and how often. */
  get graphSteps(): readonly GraphSteps[] {
    return [...this.counts.values()];
  }

  /**
   * Loads one more of the graphs that serving comes to use, so that no request has to wait for it.
   * @param adapters whether adapters will be used
   * @returns false when all are there
   */
  async warm(adapters: boolean): Promise<boolean> {
    if (this.options.graphs === "few") return false;
    for (const [attention, lora, tokens] of SERVING) {
      const form = this.form(attention, tokens);
      if (this.sessions.has(this.path(attention, lora, form)) || (lora !== "none" && !adapters)) continue;
      if (attention === "flash" && this.provider !== "cpu") continue;
      await this.session(attention, lora, form);
      return true;
    }
    return false;
  }

  async step(given: readonly StepRow[]): Promise<StepOutput> {
    checkRows(given, this.limits, this.config.vocabSize, (slot) => this.pools.hasSlot(slot), this.sparse);
    const few = this.options.graphs === "few";
    const layout = layOut(given, this.limits.blockSize, this.minimumRows, few, this.provider === "cpu", this.sparse);
    const lora = planLora(layout, this.minimumRows, few, this.pools.slotsFromZero);
    const form = this.form(layout.kind, layout.starts[layout.rows.length]);
    const session = await this.session(layout.kind, lora?.kind ?? "none", form);
    this.count(session, layout.kind, lora?.kind ?? "none");
    this.countBlocks(given, layout);
    this.bindTokens(session, layout);
    this.bindAttention(session, layout);
    if (lora) this.bindLora(session, lora);
    const { vocabSize } = this.config;
    const scored = layout.scoreRows.length;
    const wantsLogits = given.some((row) => !row.targets && row.logitsAt.length > 0);
    const [fresh, ...heads] = await session.run([
      this.pools.freshOutput(layout),
      ...(wantsLogits ? [{ name: "logits", dims: [layout.headRows.length, vocabSize] }] : []),
      ...(scored > 0 ? [{ name: "logprobs", dims: [scored, 1] }] : []),
    ]);
    const logits = wantsLogits ? heads.shift()! : new Float32Array(0);
    return this.collect(given, layout, fresh, logits, heads[0] ?? new Float32Array(0));
  }

  loadSlot(slot: number, adapter: LoadedAdapter): void {
    this.pools.loadSlot(slot, adapter);
  }

  clearSlot(slot: number): void {
    this.pools.clearSlot(slot);
  }

  copyBlock(from: number, to: number): void {
    for (const block of [from, to]) {
      if (!Number.isInteger(block) || block < 0 || block >= this.limits.blocks) {
        throw new RangeError(`Block ${block} is not one of ${this.limits.blocks}.`);
      }
    }
    this.pools.copyBlock(from, to);
  }

  async close(): Promise<void> {
    const sessions = [...this.sessions.values()];
    this.sessions.clear();
    for (const session of sessions) await (await session).release();
    await this.pools.release();
  }

  /** The mapped weights and what is packed from them: once for all graphs, or by each. A device has them once. */
  private weightCopies(): number {
    if (this.pools.place !== "cpu") return 1;
    const shared = this.runtime.sharesWeights && this.provider === "cpu";
    if (shared && this.sessions.size > 0) return 2;
    return Math.max(1, this.sessions.size);
  }

  private count(session: GraphSession, attention: AttentionKind, adapters: LoraKind): void {
    const counted = this.counts.get(session) ?? { attention, adapters, steps: 0 };
    counted.steps++;
    this.counts.set(session, counted);
  }

  private countBlocks(given: readonly StepRow[], { order, cachedBlocks }: StepLayout): void {
    for (const [i, { past }] of given.entries()) {
      const attended = cachedBlocks[order[i]].length;
      this.pastBlocks.attended += attended;
      this.pastBlocks.leftOut += Math.ceil(past / this.limits.blockSize) - attended;
    }
  }

  /** @param tokens of the step; where they are few, it is the memory of the weights that takes the time */
  private form(attention: AttentionKind, tokens: number): GraphForm {
    return this.options.int8 && (attention !== "decode" || tokens > FEW_TOKENS) ? "int8" : "host";
  }

  private path(attention: AttentionKind, lora: LoraKind, form: GraphForm): string {
    return this.compiled.path(attention, lora, this.pools.place === "cpu" ? form : "resident");
  }

  private session(attention: AttentionKind, lora: LoraKind, form: GraphForm): Promise<GraphSession> {
    const path = this.path(attention, lora, form);
    const existing = this.sessions.get(path);
    if (existing) return existing;
    const loading = this.pools.load(path, this.options.threads);
    this.sessions.set(path, loading);
    // A graph that did not load, for want of memory say, is tried again by the next step that needs it.
    loading.catch(() => this.sessions.delete(path));
    return loading;
  }

  private bindTokens(session: GraphSession, { rows, starts, headRows, scoreRows, targets }: StepLayout): void {
    const count = starts[rows.length];
    const half = this.config.headDim / 2;
    const tokens = new Int32Array(count);
    const cos = new Float32Array(count * half);
    const sin = new Float32Array(count * half);
    for (const [i, row] of rows.entries()) {
      tokens.set(row.tokens, starts[i]);
      this.rope.copyRows(row.past, row.tokens.length, cos, sin, starts[i]);
    }
    const bind = binder(session);
    bind("tokens", "int32", [count], tokens);
    bind("cos", "float32", [count, half], cos);
    bind("sin", "float32", [count, half], sin);
    bind("head_rows", "int32", [headRows.length], headRows);
    bind("score", "bool", [], Uint8Array.of(scoreRows.length > 0 ? 1 : 0));
    bind("score_rows", "int32", [scoreRows.length], scoreRows);
    bind("score_targets", "int64", [targets.length, 1], targets);
  }

  private bindAttention(session: GraphSession, layout: StepLayout): void {
    const { heads, kvHeads } = this.config;
    const { rows, width, tableWidth } = layout;
    const bind = binder(session);
    this.pools.bindStep(session, layout);
    if (layout.kind === "flash") {
      const last = Int32Array.from(rows, ({ past, tokens }) => past + tokens.length - 1);
      bind("row_shape", "int64", [3], BigInt64Array.of(BigInt(rows.length), BigInt(width), -1n));
      bind("last_position", "int32", [rows.length], last);
      bind("longest", "int32", [], Int32Array.of(Math.max(...last) + 1));
      return;
    }
    const cached = tableWidth * this.limits.blockSize;
    const shape = (...dims: number[]) => BigInt64Array.from(dims, BigInt);
    if (layout.kind === "ragged") {
      const { padded, unpadded } = raggedPlaces(layout);
      bind("padded", "int32", [rows.length, width], padded);
      bind("unpadded", "int32", [unpadded.length], unpadded);
      bind("score_shape", "int64", [4], shape(rows.length, heads, width, cached + width));
      bind("head_shape", "int64", [4], shape(rows.length, kvHeads, (heads / kvHeads) * width, cached + width));
    }
    bind("past_new", "int64", [2], shape(cached, width));
  }

  private bindLora(session: GraphSession, plan: AlignedPlan | GatheredPlan): void {
    const { first, count, slotRows } = plan;
    const bind = binder(session);
    if (plan.kind === "aligned") {
      bind("lora.grid", "int64", [3], BigInt64Array.of(BigInt(count), BigInt(slotRows), -1n));
    } else {
      const { kind, rows, places, weights, blend } = plan;
      const tokens = places.length / blend;
      bind("lora.rows", "int32", [count, slotRows], rows);
      bind("lora.weights", "float32", [count, slotRows, 1], weights);
      bind("lora.places", "int32", kind === "single" ? [tokens] : [tokens, blend], places);
    }
    const range = `${first}+${count}`;
    if (this.bound.get(session) === range) return;
    this.pools.bindSlots(session, first, count);
    this.bound.set(session, range);
  }

  /** Settles the new keys and values and hands out each row's results. */
  private collect(
    given: readonly StepRow[],
    layout: StepLayout,
    fresh: Float32Array,
    logits: Float32Array,
    logprobs: Float32Array,
  ): StepOutput {
    const { vocabSize } = this.config;
    const out: StepOutput = { logits: [], logprobs: [], normalisers: [], finite: [] };
    for (const [i, row] of given.entries()) {
      const at = layout.order[i];
      const { logitsAt, targets, normalised, tokens } = row;
      const wanted = logitsAt.length;
      const start = layout.headStarts[at] * vocabSize;
      const firstScore = layout.scoreStarts[at];
      const rowLogits = targets ? logits.subarray(0, 0) : logits.subarray(start, start + wanted * vocabSize);
      const scored = targets || normalised ? logprobs.slice(firstScore, firstScore + wanted) : new Float32Array(0);
      let finite = this.pools.isFinite(fresh, layout, at);
      for (let j = 0; j < rowLogits.length; j += vocabSize) finite &&= Number.isFinite(rowLogits[j]);
      finite &&= scored.every(Number.isFinite);
      this.pools.settle(fresh, layout, at, row, finite);
      out.logits.push(rowLogits);
      out.logprobs.push(targets ? scored : new Float32Array(0));
      out.normalisers.push(
        targets
          ? new Float32Array(0)
          : scored.map((logprob, j) => rowLogits[j * vocabSize + tokens[logitsAt[j]]] - logprob),
      );
      out.finite.push(finite);
    }
    return out;
  }
}

function openPools(config: ModelConfig, limits: RunnerLimits, runtime: Runtime, provider: Provider): StepMemory {
  if (provider === "cpu" || !runtime.openDevice) return new HostMemory(config, limits, runtime, provider);
  const device = runtime.openDevice(provider);
  try {
    return new DeviceMemory(config, limits, device, provider);
  } catch (error) {
    void device.release();
    throw error;
  }
}

function binder(session: GraphSession) {
  return (name: string, type: ElementType, dims: number[], data: TensorData) =>
    session.bind(name, { type, dims, data });
}
