import type { AdapterUse, EngineInfo } from "../engine/engine.ts";
import type { Hex } from "../protocol/bytes.ts";
import { canonicalJson, type Json } from "../protocol/canonical-json.ts";
import { keccak } from "../protocol/keccak.ts";
import type { AttributionEntry } from "../protocol/receipt.ts";
import type { ContextMeasurement, MeasuredAnswer } from "./context.ts";
import type { Effect } from "./shares.ts";
import type { Source, TracedPrompt } from "./traced-prompt.ts";
import type { VerbatimSpan } from "./verbatim/spans.ts";

/** An adapter that took part. */
interface TracedAdapter {
  /** Ids of the protocol. */
  readonly id: number;
  readonly version: number;
  /** Name that the engine knew it by, and its weight in the blend. */
  readonly name: string;
  readonly weight: number;
  /** Content hash as the engine gave it. */
  readonly hash?: string;
}

/** A DataNet version whose text was searched for verbatim spans. */
interface TracedCorpus {
  readonly dataNet: number;
  readonly version: number;
  readonly corpusHash: Hex;
  /** `via` of its entries in the context pool and in the training pool, where it feeds them. */
  readonly context?: number;
  readonly training?: number;
}

/** What went into an answer and the answer itself: all that the measurements depend on. */
export interface TraceInputs {
  readonly agent: number;
  readonly version: number;
  /**
   * Base model's name and content hash, what its tokens attended to where that was not all before them, and how its
   * weights were kept where the engine told.
   */
  readonly model: {
    readonly name: string;
    readonly hash?: string;
    readonly sparse?: NonNullable<EngineInfo["sparse"]>;
    readonly quantisation?: NonNullable<EngineInfo["quantisation"]>;
  };
  readonly adapters: readonly TracedAdapter[];
  readonly prompt: TracedPrompt;
  /** What the user asked: words of the answer that repeat it are nobody's. */
  readonly question: string;
  readonly sources: readonly Source[];
  readonly answer: { readonly text: string; readonly tokens: readonly number[] };
  readonly corpora: readonly TracedCorpus[];
  /** What feeds each pool, as the composition says. */
  readonly measures: { readonly context: "leave-one-out" | "verbatim"; readonly training: "influence" | "verbatim" };
  /** What went without: tools that gave nothing. For people; nothing follows from it. */
  readonly notes?: readonly string[];
}

/** Everything from which a job's attribution can be done again. */
export interface Trace {
  readonly format: 1;
  readonly inputs: TraceInputs;
  readonly context: ContextMeasurement;
  /** For each adapter, millionths of a nat. Shown, not paid. */
  readonly adapterEffects: readonly number[];
  readonly spans: readonly VerbatimSpan[];
  /** Influence of training data as measured elsewhere; empty where verbatim feeds the training pool. */
  readonly influence: readonly Effect[];
  readonly pools: Pools;
}

/** Entries of the receipt. */
export interface Pools {
  readonly context: readonly AttributionEntry[];
  readonly training: readonly AttributionEntry[];
  readonly tool: readonly AttributionEntry[];
}

/** Bytes that are no trace, or not in the canonical form. */
export class MalformedTrace extends Error {
  constructor(reason: string) {
    super(`This is no trace: ${reason} (docs/attribution.md, "The trace")`);
    this.name = "MalformedTrace";
  }
}

/** Canonical JSON (RFC 8785) in UTF-8: a trace's bytes. */
export function encodeTrace(trace: Trace): Uint8Array {
  return new TextEncoder().encode(canonicalJson(trace as unknown as Json));
}

/** Keccak-256 of a trace's bytes: its address, and the receipt's trace hash. */
export function traceHash(bytes: Uint8Array): Uint8Array {
  return keccak(bytes);
}

/** The seed of the random masks: it follows from the inputs, so that nobody picks the masks. */
export function traceSeed(inputs: TraceInputs): Uint8Array {
  return keccak(new TextEncoder().encode(canonicalJson(inputs as unknown as Json)));
}

/** The answer as it is measured. */
export function measuredAnswer(inputs: TraceInputs): MeasuredAnswer {
  const adapters: AdapterUse[] = inputs.adapters.map(({ name, weight }) => ({ id: name, weight }));
  return { prompt: inputs.prompt, sources: inputs.sources, tokens: inputs.answer.tokens, adapters };
}
