import { MAX_ADAPTERS, MAX_COMPOSITION_BYTES, MAX_DATA_NETS, MAX_TOOLS, PPM } from "./bounds.ts";
import { ByteReader, ByteWriter } from "./bytes.ts";
import { InvalidComposition, MalformedBytes } from "./errors.ts";
import { keccak } from "./keccak.ts";

/** One version of something registered. */
export interface Pinned {
  id: number;
  version: number;
}

/** An adapter in a composition. */
export interface PinnedAdapter extends Pinned {
  /** Share of the adapters' class, in ppm; all of a composition sum to 1,000,000. */
  share: number;
  /** Strength with which its weights are added, in ppm. */
  scale: number;
}

/** Shares of what remains of a price after the treasury, in ppm; they sum to 1,000,000. */
export interface Split {
  operator: number;
  publisher: number;
  adapters: number;
  prompt: number;
  context: number;
  training: number;
  tool: number;
}

/** Where the share of a pool without entries goes. */
export const EMPTY_POOL = { proRata: 0, publisher: 1, adapters: 2, prompt: 3 } as const;
export type EmptyPool = (typeof EMPTY_POOL)[keyof typeof EMPTY_POOL];

export const CONTEXT_MEASURE = { leaveOneOut: 0, verbatim: 1 } as const;
export type ContextMeasure = (typeof CONTEXT_MEASURE)[keyof typeof CONTEXT_MEASURE];

export const TRAINING_MEASURE = { influence: 0, verbatim: 1 } as const;
export type TrainingMeasure = (typeof TRAINING_MEASURE)[keyof typeof TRAINING_MEASURE];

/** What a version of an agent pins. Prices are wei of OPEN. */
export interface Composition {
  /** Hash of the base model, 32 bytes. */
  baseModel: Uint8Array;
  pricePerJob: bigint;
  pricePerPromptToken: bigint;
  pricePerCompletionToken: bigint;
  split: Split;
  emptyContext: EmptyPool;
  emptyTraining: EmptyPool;
  emptyTool: EmptyPool;
  contextMeasure: ContextMeasure;
  trainingMeasure: TrainingMeasure;
  prompt: Pinned | null;
  adapters: PinnedAdapter[];
  dataNets: Pinned[];
  tools: Pinned[];
}

const FORMAT = 1;
const FIXED_BYTES = 105;
const COMPOSITION_TAG = 0x08;
const SPLIT_ORDER = ["operator", "publisher", "adapters", "prompt", "context", "training", "tool"] as const;

/**
 * The canonical bytes of a composition.
 *
 * @throws {InvalidComposition} When a rule of the composition is broken.
 * @throws {MalformedBytes} When a number does not fit its field.
 */
export function encodeComposition(composition: Composition): Uint8Array {
  checkComposition(composition);
  const { adapters, dataNets, tools } = composition;
  const writer = new ByteWriter(FIXED_BYTES + 16 * adapters.length + 8 * (dataNets.length + tools.length));
  writer
    .u8(FORMAT)
    .raw(composition.baseModel, 32)
    .u96(composition.pricePerJob)
    .u64(composition.pricePerPromptToken)
    .u64(composition.pricePerCompletionToken);
  for (const name of SPLIT_ORDER) writer.u32(composition.split[name]);
  writer
    .u8(composition.emptyContext)
    .u8(composition.emptyTraining)
    .u8(composition.emptyTool)
    .u8(composition.contextMeasure)
    .u8(composition.trainingMeasure)
    .u8(adapters.length)
    .u8(dataNets.length)
    .u8(tools.length)
    .u32(composition.prompt?.id ?? 0)
    .u32(composition.prompt?.version ?? 0);
  for (const adapter of adapters) {
    writer.u32(adapter.id).u32(adapter.version).u32(adapter.share).u32(adapter.scale);
  }
  for (const member of [...dataNets, ...tools]) writer.u32(member.id).u32(member.version);
  return writer.finish();
}

/**
 * Reads a composition, refusing whatever the encoder would not write.
 *
 * Whether the ids and versions exist is the registry's to know.
 *
 * @throws {MalformedBytes} When the bytes do not have the format's form.
 * @throws {InvalidComposition} When a rule of the composition is broken.
 */
export function decodeComposition(bytes: Uint8Array): Composition {
  if (bytes.length > MAX_COMPOSITION_BYTES) throw new MalformedBytes(`${bytes.length} bytes of composition`, "4");
  const reader = new ByteReader(bytes);
  if (reader.u8() !== FORMAT) throw new MalformedBytes("unknown format of composition", "4");
  const baseModel = reader.raw(32);
  const pricePerJob = reader.u96();
  const pricePerPromptToken = reader.u64();
  const pricePerCompletionToken = reader.u64();
  const split = Object.fromEntries(SPLIT_ORDER.map((name) => [name, reader.u32()])) as unknown as Split;
  const [emptyContext, emptyTraining, emptyTool] = [reader.u8(), reader.u8(), reader.u8()] as EmptyPool[];
  const contextMeasure = reader.u8() as ContextMeasure;
  const trainingMeasure = reader.u8() as TrainingMeasure;
  const counts = { adapters: reader.u8(), dataNets: reader.u8(), tools: reader.u8() };
  const pinned = (): Pinned => ({ id: reader.u32(), version: reader.u32() });
  const prompt = pinned();
  const list = <T>(length: number, read: () => T): T[] => Array.from({ length }, read);
  const composition: Composition = {
    baseModel,
    pricePerJob,
    pricePerPromptToken,
    pricePerCompletionToken,
    split,
    emptyContext,
    emptyTraining,
    emptyTool,
    contextMeasure,
    trainingMeasure,
    prompt: prompt.id === 0 && prompt.version === 0 ? null : prompt,
    adapters: list(counts.adapters, () => ({ ...pinned(), share: reader.u32(), scale: reader.u32() })),
    dataNets: list(counts.dataNets, pinned),
    tools: list(counts.tools, pinned),
  };
  reader.end();
  checkComposition(composition);
  return composition;
}

/** The hash that the registry stores of a composition's bytes. */
export function compositionHash(bytes: Uint8Array): Uint8Array {
  return keccak(new ByteWriter(1 + bytes.length).u8(COMPOSITION_TAG).raw(bytes).finish());
}

function checkComposition(composition: Composition): void {
  const { split, adapters, dataNets, tools, prompt } = composition;
  const refuse = (wrong: boolean, reason: string) => {
    if (wrong) throw new InvalidComposition(reason);
  };
  refuse(sum(SPLIT_ORDER.map((name) => split[name])) !== PPM, "the split does not sum to 1,000,000");
  for (const where of [composition.emptyContext, composition.emptyTraining, composition.emptyTool]) {
    refuse(where > EMPTY_POOL.prompt, `an empty pool cannot go to ${where}`);
  }
  refuse(composition.contextMeasure > CONTEXT_MEASURE.verbatim, "unknown measure of context");
  refuse(composition.trainingMeasure > TRAINING_MEASURE.verbatim, "unknown measure of training");
  refuse(adapters.length > MAX_ADAPTERS, `${adapters.length} adapters`);
  refuse(dataNets.length > MAX_DATA_NETS, `${dataNets.length} DataNets`);
  refuse(tools.length > MAX_TOOLS, `${tools.length} tools`);
  refuse(prompt?.id === 0, "a version of no prompt");
  refuse(
    adapters.length > 0 && sum(adapters.map((adapter) => adapter.share)) !== PPM,
    "the adapters' shares do not sum to 1,000,000",
  );
  refuse(new Set(dataNets.map((member) => member.id)).size !== dataNets.length, "a DataNet is given twice");
  refuse(split.adapters > 0 && adapters.length === 0, "a share for adapters, but no adapter");
  refuse(split.training > 0 && adapters.length === 0, "a share for training, but no adapter");
  refuse(split.prompt > 0 && prompt === null, "a share for the prompt, but no prompt");
  refuse(split.context > 0 && dataNets.length === 0, "a share for context, but no DataNet");
  refuse(split.tool > 0 && tools.length === 0, "a share for tools, but no tool");
}

function sum(values: number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
