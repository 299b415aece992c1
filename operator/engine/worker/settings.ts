import { availableParallelism, totalmem } from "node:os";
import { EngineError } from "../engine-error.ts";
import type { Quantisation } from "../graph/matrices.ts";
import type { ModelConfig } from "../model/config-types.ts";
import { LORA_TARGETS, targetShape } from "../model/lora.ts";
import { expectedTensors } from "../model/model-weights.ts";
import { describePattern, type SparseAttention } from "../model/sparse-attention.ts";
import { KvPool } from "../runtime/kv-pool.ts";
import { preferredRuntime } from "../runtime/preferred-runtime.ts";
import { hasMatrixUnits } from "../runtime/processor.ts";
import type { Provider } from "../runtime/session.ts";
import { resolveSparse, type SparseSetting } from "./sparse-setting.ts";

/** What an operator may set. Everything but the model has a default that fits the machine. */
export interface EngineSettings {
  /** Hugging Face model folder. */
  readonly model: string;
  /** Default: `f32` for models below 256 MiB, `q4` above. */
  readonly quantisation?: Quantisation;
  /** Results that depend on nothing but the request. Default false: twice as fast where weights are quantised. */
  readonly exact?: boolean;
  /** Threads that compute. Default: the processors this process may use. */
  readonly threads?: number;
  readonly provider?: Provider;
  /** Bytes that the engine may take in all, as a base for the other defaults. Default: 60 % of the machine's memory. */
  readonly memoryBytes?: number;
  /** Bytes for keys and values. */
  readonly kvBytes?: number;
  /** Bytes for adapters in host memory, besides those in slots. */
  readonly adapterBytes?: number;
  /** Adapters that can be computed with at once. Default 32, fewer where memory is short. */
  readonly slots?: number;
  /** Largest rank that an adapter may have. Every slot has room for it, and every step computes it. Default 16. */
  readonly maxRank?: number;
  /** Tokens per block of keys and values. Default 64. */
  readonly blockSize?: number;
  /** Sequences in one step. Default 16, 32 on more than four threads. */
  readonly maxBatch?: number;
  /** Tokens of input in one step. Default 256. */
  readonly prefillTokens?: number;
  /** Sequences that may wait. Default 1,024. */
  readonly maxQueue?: number;
  /**
   * Keeps 8-bit copies of quantised matrices for steps of several tokens: many times as fast on processors with matrix
   * units, results a little less precise. Default: where the processor has them and the copies take a quarter of the
   * memory at most. Never in exact mode.
   */
  readonly int8?: boolean;
  /**
   * Leaves blocks of the past out, so that a token takes the same time after any context. It changes what a model says:
   * for models that were trained, or shown, to do without. Default: every token attends to all before it.
   */
  readonly sparse?: SparseSetting | undefined;
  /** Loads the graphs that serving comes to use while there is nothing else to do. Default true. */
  readonly warm?: boolean;
  /** Folder for compiled graphs. */
  readonly cache?: string;
}

/** Settings with every default filled in, and the memory that they take. */
export interface ResolvedSettings {
  readonly model: string;
  readonly quantisation: Quantisation;
  readonly exact: boolean;
  readonly threads: number;
  readonly provider: Provider;
  readonly blocks: number;
  readonly blockSize: number;
  readonly slots: number;
  readonly maxRank: number;
  readonly adapterBytes: number;
  /** Bytes of the largest adapter that a slot takes. */
  readonly largestAdapterBytes: number;
  readonly maxBatch: number;
  readonly prefillTokens: number;
  readonly maxQueue: number;
  readonly int8: boolean;
  readonly sparse: SparseAttention | undefined;
  readonly warm: boolean;
  readonly cache: string | undefined;
  /** Bytes, before anything is loaded; weights and graphs by estimate. */
  readonly memory: {
    readonly weights: number;
    /** Weights packed for the processor, by each graph where they cannot be shared, and what graphs compute with. */
    readonly graphs: number;
    readonly kv: number;
    readonly slots: number;
    readonly host: number;
  };
}

/** What the defaults are derived from. */
interface Machine {
  readonly processors: number;
  /** Bytes that this process may use, limits of its container included. */
  readonly memoryBytes: number;
  /** Whether graphs share their packed weights on the processor. Default false. */
  readonly sharesWeights?: boolean;
  /** Whether the processor has matrix units for 8-bit numbers. Default false. */
  readonly matrixUnits?: boolean;
  /** Whether devices keep one copy of the weights for all graphs, and nothing packed. Default false. */
  readonly opensDevices?: boolean;
}

export function thisMachine(): Machine {
  const constrained = process.constrainedMemory();
  const total = totalmem();
  const runtime = preferredRuntime();
  return {
    processors: availableParallelism(),
    memoryBytes: constrained > 0 && constrained < total ? constrained : total,
    sharesWeights: runtime.sharesWeights,
    matrixUnits: hasMatrixUnits(),
    opensDevices: runtime.openDevice !== undefined,
  };
}

const SMALL_MODEL = 256 * 2 ** 20;
const BYTES_PER_WEIGHT: Record<Quantisation, number> = { f32: 4, q8: 1.125, q4: 0.625 };
/** Graphs that serving comes to use: two attentions, each without adapters, with one and with blends. */
const GRAPHS = 6;
/** Packed weights relative to the stored ones, and a graph's other memory (measured at 135m, q4 and f32). */
const PACKED = 1.25;
const GRAPH_BYTES = 64 * 2 ** 20;
/** Most of the memory that 8-bit copies of the weights take unasked. */
const INT8_SHARE = 0.25;
/** A conversation that is worth serving: the least context for which the pool has room for a whole batch. */
const USUAL_CONTEXT = 2048;

/**
 * @throws EngineError `invalid_request` where a setting is out of range, or the model does not fit the memory
 */
export function resolveSettings(settings: EngineSettings, config: ModelConfig, machine: Machine): ResolvedSettings {
  const threads = count("threads", settings.threads ?? machine.processors, 1, 1024);
  const blockSize = count("blockSize", settings.blockSize ?? 64, 8, 1024);
  const maxRank = count("maxRank", settings.maxRank ?? 16, 1, 1024);
  const maxBatch = count("maxBatch", settings.maxBatch ?? (threads > 4 ? 32 : 16), 1, 1024);
  const prefillTokens = count("prefillTokens", settings.prefillTokens ?? 256, 1, 65_536);
  const maxQueue = count("maxQueue", settings.maxQueue ?? 1024, 1, 1_000_000);
  const budget = settings.memoryBytes ?? Math.floor(machine.memoryBytes * 0.6);
  const parameters = parameterCount(config);
  const quantisation = settings.quantisation ?? (parameters * 4 <= SMALL_MODEL ? "f32" : "q4");
  const sparse = resolveSparse(settings.sparse, blockSize, settings.provider ?? "cpu");
  const onHost = (settings.provider ?? "cpu") === "cpu";
  const mayInt8 = onHost && settings.exact !== true && quantisation !== "f32";
  const copiesFit = machine.matrixUnits === true && parameters * (1 + PACKED) <= budget * INT8_SHARE;
  const int8 = mayInt8 && (settings.int8 ?? copiesFit);
  const weights = Math.ceil(parameters * (BYTES_PER_WEIGHT[quantisation] + (int8 ? 1 : 0)));
  const packed = onHost ? (machine.sharesWeights ? 1 : GRAPHS) : machine.opensDevices ? 0 : GRAPHS;
  const graphs = packed * Math.ceil(weights * PACKED) + GRAPHS * GRAPH_BYTES;
  const left = budget - weights - graphs;
  const largestAdapterBytes = adapterBytes(config, maxRank);
  const slots = count(
    "slots",
    settings.slots ?? Math.max(2, Math.min(32, share(left, 0.2, largestAdapterBytes))),
    1,
    4096,
  );
  const blockBytes = KvPool.bytes(config, 1, blockSize) - KvPool.bytes(config, 0, blockSize);
  const blocks = poolBlocks(settings, config, { left, blockSize, blockBytes, maxBatch });
  const kv = (blocks + 1) * blockBytes;
  const slotBytes = slots * largestAdapterBytes;
  const rest = Math.floor(left * 0.9) - kv - slotBytes;
  const host = settings.adapterBytes ?? Math.max(2 * largestAdapterBytes, rest);
  if (host < largestAdapterBytes) {
    throw tooSmall("adapterBytes", host, largestAdapterBytes, `one adapter of rank ${maxRank}`);
  }
  const memory = { weights, graphs, kv, slots: slotBytes, host };
  const total = weights + graphs + kv + slotBytes + host;
  if (total > budget) {
    throw new EngineError(
      "invalid_request",
      `the model does not fit: weights ${megabytes(weights)}, graphs ${megabytes(graphs)}, keys and values ${megabytes(kv)}, ` +
        `slots ${megabytes(slotBytes)}, adapters ${megabytes(host)} make ${megabytes(total)} of ` +
        `${megabytes(budget)} allowed; use a smaller quantisation, less of each, or more memory`,
      { ...memory, budget },
    );
  }
  const { model, exact = false, provider = "cpu", warm = true, cache } = settings;
  return {
    ...{ model, quantisation, exact, threads, provider, blocks, blockSize, slots, maxRank, adapterBytes: host },
    ...{ largestAdapterBytes, maxBatch, prefillTokens, maxQueue, int8, sparse, warm, cache, memory },
  };
}

/** Settings and memory as they are printed at start. */
export function describeSettings(resolved: ResolvedSettings): Record<string, string | number | boolean> {
  const { model, quantisation, exact, int8, threads, provider, blocks, blockSize, slots, maxRank, memory } = resolved;
  const { maxBatch, prefillTokens, maxQueue, sparse } = resolved;
  return {
    ...{ model, quantisation, exact, int8, threads, provider, blocks, blockSize, slots, maxRank },
    ...{ maxBatch, prefillTokens, maxQueue, kvTokens: blocks * blockSize },
    sparse: sparse === undefined ? "off" : describePattern(sparse),
    weightBytes: memory.weights,
    graphBytes: memory.graphs,
    kvBytes: memory.kv,
    slotBytes: memory.slots,
    adapterBytes: memory.host,
  };
}

/** Bytes of an adapter of this rank on every matrix, as float32. */
function adapterBytes(config: ModelConfig, rank: number): number {
  let perLayer = 0;
  for (const target of LORA_TARGETS) {
    const [outputs, inputs] = targetShape(config, target);
    perLayer += outputs + inputs;
  }
  return perLayer * rank * 4 * config.layers;
}

function parameterCount(config: ModelConfig): number {
  let total = 0;
  for (const shape of expectedTensors(config).values()) total += shape.reduce((a, b) => a * b, 1);
  return total;
}

function poolBlocks(
  settings: EngineSettings,
  config: ModelConfig,
  { left, blockSize, blockBytes, maxBatch }: { left: number; blockSize: number; blockBytes: number; maxBatch: number },
): number {
  if (settings.kvBytes !== undefined) {
    const blocks = Math.floor(settings.kvBytes / blockBytes) - 1;
    if (blocks < 2) throw tooSmall("kvBytes", settings.kvBytes, 3 * blockBytes, "two blocks");
    return blocks;
  }
  const context = Math.min(config.maxPositions, USUAL_CONTEXT);
  const wanted = Math.ceil((maxBatch * context) / blockSize);
  return Math.max(2, Math.min(wanted, share(left, 0.4, blockBytes)));
}

function share(bytes: number, part: number, unit: number): number {
  return Math.floor((Math.max(0, bytes) * part) / unit);
}

function count(name: string, value: number, low: number, high: number): number {
  if (Number.isInteger(value) && value >= low && value <= high) return value;
  throw new EngineError("invalid_request", `setting ${name} is ${value}, not a whole number from ${low} to ${high}`);
}

function tooSmall(name: string, value: number, needed: number, what: string): EngineError {
  return new EngineError("invalid_request", `setting ${name} is ${value} bytes; ${what} takes ${needed}`);
}

function megabytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(0)} MiB`;
}
