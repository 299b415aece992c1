import type { Engine, EngineInfo } from "../engine/engine.ts";
import { sameBytes, toHex } from "../protocol/bytes.ts";
import { canonicalJson, type Json } from "../protocol/canonical-json.ts";
import type { DataNetIndex } from "../retrieval/data-net-index.ts";
import { effectsOf } from "./ablations.ts";
import { checkPassages } from "./check-passages.ts";
import { measureAdapters, planContext, scoreMasks } from "./context.ts";
import { decodeTrace } from "./decode-trace.ts";
import { poolsOf } from "./pools.ts";
import type { Effect } from "./shares.ts";
import { MalformedTrace, measuredAnswer, type Pools, type Trace, traceHash, traceSeed } from "./trace.ts";
import { findVerbatimSpans } from "./verbatim/spans.ts";
import type { VerbatimCorpus } from "./verbatim/verbatim-corpus.ts";

interface VerifyOptions {
  /** Address of the trace: the receipt's trace hash. */
  readonly hash: Uint8Array;
  /** The receipt's entries, to be compared with the trace's. */
  readonly pools?: Pools;
  /** The same model with the same adapters, in exact mode. Without one scores are taken as they are. */
  readonly engine?: Engine;
  /** The suffix arrays that the trace names. Without them spans are taken as they are. */
  readonly corpora?: readonly VerbatimCorpus[];
  /** The DataNet versions that the agent version pins. Without them passages are taken as they are. */
  readonly indexes?: readonly DataNetIndex[];
  /** Text of token ids by the model's tokenizer. Without it the answer's text and tokens are taken to agree. */
  readonly textOf?: (tokens: readonly number[]) => string;
  /** Measures the influence of training data again. Without it that is taken as it is. */
  readonly influence?: (trace: Trace) => Promise<readonly Effect[]>;
  /**
   * How far a score may be off, in millionths of a nat per token of the answer. Default 500: other processors round
   * differently; the same machine gives the same bits.
   */
  readonly tolerance?: number;
  readonly signal?: AbortSignal;
}

interface VerifyReport {
  /** Whether nothing was found wrong. */
  readonly ok: boolean;
  /** What is wrong, in words. */
  readonly problems: readonly string[];
  /** What was done again; the rest is only known to be consistent. */
  readonly remeasured: readonly ("scores" | "text" | "passages" | "verbatim" | "influence")[];
  /** Largest difference of a score, in millionths of a nat; undefined when scores were not measured again. */
  readonly largestDifference: number | undefined;
}

/**
 * Does an answer's attribution again from its trace and compares. Hash, arithmetic and shares are compared exactly; scores
 * within a tolerance, if there is an engine to measure them with.
 *
 * @throws Whatever the engine throws.
 */
export async function verifyTrace(bytes: Uint8Array, options: VerifyOptions): Promise<VerifyReport> {
  const problems: string[] = [];
  const hash = traceHash(bytes);
  if (!sameBytes(hash, options.hash)) {
    problems.push(`The trace has hash ${toHex(hash)}, not ${toHex(options.hash)}.`);
  }
  let trace: Trace;
  try {
    trace = decodeTrace(bytes);
    problems.push(...arithmetic(trace));
  } catch (error) {
    if (!(error instanceof MalformedTrace || error instanceof RangeError)) throw error;
    return { ok: false, problems: [...problems, error.message], remeasured: [], largestDifference: undefined };
  }
  if (options.pools && !same(options.pools, trace.pools)) {
    problems.push("The receipt's shares are not those of the trace.");
  }
  // Measuring what is already known to be inconsistent would only cost time.
  if (problems.length > 0) return { ok: false, problems, remeasured: [], largestDifference: undefined };

  const remeasured: VerifyReport["remeasured"][number][] = [];
  let largestDifference: number | undefined;
  if (options.engine) {
    const again = await remeasure(trace, options.engine, options);
    problems.push(...again.problems);
    largestDifference = again.largestDifference;
    if (largestDifference !== undefined) remeasured.push("scores");
  }
  if (options.textOf) {
    if (options.textOf(trace.inputs.answer.tokens) !== trace.inputs.answer.text) {
      problems.push("The answer's tokens do not spell its text.");
    }
    remeasured.push("text");
  }
  if (options.indexes) {
    problems.push(...checkPassages(trace.inputs, options.indexes));
    remeasured.push("passages");
  }
  if (options.corpora) {
    problems.push(...searchAgain(trace, options.corpora));
    remeasured.push("verbatim");
  }
  if (options.influence) {
    if (!same(await options.influence(trace), trace.influence)) {
      problems.push("The influence of training data is not what measuring it again gives.");
    }
    remeasured.push("influence");
  }
  return { ok: problems.length === 0, problems, remeasured, largestDifference };
}

/** Masks follow from the inputs, effects from the scores, shares from the effects: all without a model. */
function arithmetic(trace: Trace): string[] {
  const { inputs, context, spans, influence, pools } = trace;
  const references = [
    ...("parts" in inputs.prompt ? inputs.prompt.parts : inputs.prompt.messages.flatMap(({ parts }) => parts)),
    ...("messages" in inputs.prompt ? inputs.prompt.messages : []),
  ];
  if (references.some(({ source }) => source !== undefined && source >= inputs.sources.length)) {
    return ["A part of the prompt names a source that is not listed."];
  }
  const names = inputs.sources.map(({ kind, id }) => `${kind} ${id}`);
  if (new Set(names).size !== names.length) return ["A source is listed twice."];
  if (inputs.answer.tokens.length === 0) return ["The answer has no tokens."];
  const plan = planContext(measuredAnswer(inputs), traceSeed(inputs));
  const { scores, effects, ...claimed } = context;
  if (!same(plan, claimed)) return ["The ablations are not those that follow from the inputs."];
  if (scores.length !== plan.masks.length) return ["There is not one score for each ablation."];
  const problems: string[] = [];
  if (!same(effectsOf(plan, scores, inputs.answer.tokens.length), effects)) {
    problems.push("The effects do not follow from the scores.");
  }
  if (!same(poolsOf(inputs, { effects, spans, influence }), pools)) {
    problems.push("The shares do not follow from what was measured.");
  }
  return problems;
}

async function remeasure(trace: Trace, engine: Engine, { tolerance = 500, signal }: VerifyOptions) {
  const { inputs, context } = trace;
  const problems: string[] = [];
  const info = await engine.info();
  const { modelHash } = info;
  if (inputs.model.hash !== undefined && modelHash !== undefined && modelHash !== inputs.model.hash) {
    problems.push(`The engine has the model ${modelHash}, the answer is by ${inputs.model.hash}.`);
  }
  const other = otherFunction(info, inputs.model);
  if (other !== undefined) {
    problems.push(other);
    // Scores of another function say nothing about these.
    return { problems, largestDifference: undefined };
  }
  const known = await engine.adapters();
  for (const { name, hash } of inputs.adapters) {
    const have = known.find(({ id }) => id === name)?.hash;
    if (hash !== undefined && have !== undefined && have !== hash) {
      problems.push(`The engine has adapter ${name} as ${have}, the answer is by ${hash}.`);
    }
  }
  const answer = measuredAnswer(inputs);
  const { scores } = await scoreMasks(engine, answer, context.masks, { signal });
  const adapterEffects = await measureAdapters(engine, answer, scores[0], signal);
  const allowed = tolerance * inputs.answer.tokens.length;
  const differences = scores.map((score, i) => Math.abs(score - context.scores[i]));
  const largestDifference = Math.max(...differences);
  if (largestDifference > allowed) {
    const worst = differences.indexOf(largestDifference);
    problems.push(
      `The score of ablation ${worst} is ${context.scores[worst]} in the trace and ${scores[worst]} measured again, ` +
        `further apart than ${allowed} millionths of a nat.`,
    );
  }
  if (
    adapterEffects.length !== trace.adapterEffects.length ||
    adapterEffects.some((effect, i) => Math.abs(effect - trace.adapterEffects[i]) > 2 * allowed)
  ) {
    problems.push("The adapters' effects are not what measuring them again gives.");
  }
  return { problems, largestDifference };
}

/**
 * In what an engine computes another function of the same model than an answer was computed with: it attends to something
 * else, or keeps the weights rounded otherwise. Undefined where it is the same, as far as both tell.
 */
export function otherFunction(
  engine: Pick<EngineInfo, "sparse" | "quantisation">,
  traced: Pick<Trace["inputs"]["model"], "sparse" | "quantisation">,
): string | undefined {
  const [here, there] = [engine.sparse, traced.sparse].map((sparse) =>
    canonicalJson(sparse === undefined ? "everything" : { ...sparse }),
  );
  if (here !== there) return `The engine attends to ${here}, the answer was computed with ${there}.`;
  if (engine.quantisation === undefined || traced.quantisation === undefined) return undefined;
  if (engine.quantisation === traced.quantisation) return undefined;
  return `The engine keeps weights in ${engine.quantisation}, the answer was computed with ${traced.quantisation}.`;
}

function searchAgain({ inputs, spans }: Trace, corpora: readonly VerbatimCorpus[]): string[] {
  const given = corpora.map(({ corpusHash }) => corpusHash).join();
  if (given !== inputs.corpora.map(({ corpusHash }) => corpusHash).join()) {
    return ["The DataNets searched here are not those that the trace names."];
  }
  if (same(findVerbatimSpans(corpora, inputs.question, inputs.answer.text), spans)) return [];
  return ["The verbatim spans are not those that searching again finds."];
}

function same(a: unknown, b: unknown): boolean {
  return canonicalJson(a as Json) === canonicalJson(b as Json);
}
