import type { Engine, Usage } from "../engine/engine.ts";
import { measureAdapters, measureContext } from "./context.ts";
import { poolsOf } from "./pools.ts";
import type { Effect } from "./shares.ts";
import { encodeTrace, measuredAnswer, type Trace, type TraceInputs, traceHash, traceSeed } from "./trace.ts";
import { findVerbatimSpans } from "./verbatim/spans.ts";
import type { VerbatimCorpus } from "./verbatim/verbatim-corpus.ts";

interface AttributeOptions {
  /** In exact mode: `info().exact`. */
  readonly engine: Engine;
  readonly inputs: TraceInputs;
  /** The suffix arrays that the inputs name, in their order. */
  readonly corpora: readonly VerbatimCorpus[];
  /** Influence of training data, where that feeds the training pool. */
  readonly influence?: readonly Effect[];
  /**
   * The log-probability of each token of the answer as the engine gave it while generating in exact mode. It is what
   * scoring the answer under all sources gives but for rounding, and saves doing that.
   */
  readonly generated?: readonly number[];
  readonly signal?: AbortSignal;
}

export interface Attribution {
  readonly trace: Trace;
  /** The trace's bytes, to be stored under their hash. */
  readonly bytes: Uint8Array;
  readonly hash: Uint8Array;
  /** Tokens that scoring took. */
  readonly usage: Usage;
}

/**
 * Measures who moved an answer and writes it down so that anyone can do it again.
 *
 * @throws {Error} When a suffix array is not the one that the inputs name. Whatever the engine throws.
 */
export async function attribute(options: AttributeOptions): Promise<Attribution> {
  const { engine, inputs, corpora, influence = [], generated, signal } = options;
  checkCorpora(inputs, corpora);
  const answer = measuredAnswer(inputs);
  const { measurement, usage } = await measureContext(engine, answer, traceSeed(inputs), { generated, signal });
  const adapterEffects = await measureAdapters(engine, answer, measurement.scores[0], signal);
  const spans = findVerbatimSpans(corpora, inputs.question, inputs.answer.text);
  const pools = poolsOf(inputs, { effects: measurement.effects, spans, influence });
  const trace: Trace = { format: 1, inputs, context: measurement, adapterEffects, spans, influence, pools };
  const bytes = encodeTrace(trace);
  return { trace, bytes, hash: traceHash(bytes), usage };
}

function checkCorpora(inputs: TraceInputs, corpora: readonly VerbatimCorpus[]): void {
  const given = corpora.map(({ corpusHash }) => corpusHash).join();
  const named = inputs.corpora.map(({ corpusHash }) => corpusHash).join();
  if (given !== named) throw new Error(`The suffix arrays ${given} are not those that the inputs name: ${named}`);
}
