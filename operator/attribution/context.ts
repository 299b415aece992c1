import type { AdapterUse, Engine, ScoreRequest, Usage } from "../engine/engine.ts";
import { type AblationPlan, effectsOf, planAblations } from "./ablations.ts";
import { clusterSources } from "./clusters.ts";
import { renderPrompt, type Source, sourceTexts, type TracedPrompt } from "./traced-prompt.ts";

/** What one token may count at most, in millionths of a nat: bounds the outlier that makes a single token unlikely. */
const TOKEN_CAP = 16_000_000;
/** Lower end of a token's log-probability: a token that a model calls impossible still has a score. */
const FLOOR = -100_000_000;

/** An answer and what it was given for. */
export interface MeasuredAnswer {
  readonly prompt: TracedPrompt;
  readonly sources: readonly Source[];
  /** The answer's token ids, as generated. */
  readonly tokens: readonly number[];
  readonly adapters: readonly AdapterUse[];
}

/** Log-probabilities of one answer under ablated prompts, and what follows from them. */
export interface ContextMeasurement extends AblationPlan {
  /** For each mask the answer's score in millionths of a nat, each token within 16 nats of its score under all sources. */
  readonly scores: readonly number[];
  /** For each source, millionths of a nat. */
  readonly effects: readonly number[];
}

/** @throws {RangeError} When there are more sources than are ever put into a prompt. */
export function planContext(answer: MeasuredAnswer, seed: Uint8Array): AblationPlan {
  const { prompt, sources } = answer;
  if (sources.length > MOST_SOURCES) throw new RangeError(`${sources.length} sources, more than ${MOST_SOURCES}`);
  return planAblations(sources.length, clusterSources(sources, sourceTexts(prompt, sources)), seed);
}

const MOST_SOURCES = 256;

/**
 * How much each source moved an answer: the answer's log-probability under the prompt with all sources minus that without
 * the source. All prompts are scored in one call, so the engine computes what they share once. What generating the answer
 * said about it is what scoring it under all sources would say, and is not computed again.
 *
 * @param engine In exact mode, or a verifier gets other numbers.
 * @param seed 32 bytes that follow from the answer and its inputs, so that nobody picks the masks.
 */
export async function measureContext(
  engine: Engine,
  answer: MeasuredAnswer,
  seed: Uint8Array,
  { generated, signal }: MeasureOptions = {},
): Promise<{ measurement: ContextMeasurement; usage: Usage }> {
  const plan = planContext(answer, seed);
  const { scores, usage } = await scoreMasks(engine, answer, plan.masks, { generated, signal });
  return { measurement: { ...plan, scores, effects: effectsOf(plan, scores, answer.tokens.length) }, usage };
}

interface MeasureOptions {
  /**
   * Log-probability of each token of the answer under the whole prompt and all adapters, as the engine gave them while it
   * generated in exact mode. Those of another number of tokens are not used.
   */
  readonly generated?: readonly number[];
  readonly signal?: AbortSignal;
}

/** Scores of an answer under several masks, the first of which keeps all sources, in millionths of a nat. */
export async function scoreMasks(
  engine: Engine,
  answer: MeasuredAnswer,
  masks: readonly (readonly boolean[])[],
  { generated, signal }: MeasureOptions = {},
): Promise<{ scores: number[]; usage: Usage }> {
  const known = generated?.length === answer.tokens.length ? [generated] : [];
  const asked = masks.slice(known.length);
  const { scores, usage } = asked.length === 0 ? NOTHING_SCORED : await engine.score(request(answer, asked), signal);
  const tokens = [...known, ...scores.map(({ tokenLogprobs }) => tokenLogprobs)].map((list) => list.map(millionths));
  return { scores: tokens.map((list) => cappedSum(list, tokens[0])), usage };
}

const NOTHING_SCORED = { scores: [], usage: { promptTokens: 0, cachedTokens: 0, completionTokens: 0 } };

function request({ prompt, tokens, adapters }: MeasuredAnswer, masks: readonly (readonly boolean[])[]): ScoreRequest {
  return { contexts: masks.map((mask) => renderPrompt(prompt, mask)), continuation: { tokens }, adapters };
}

/**
 * How much each adapter moved an answer: its log-probability with all adapters minus that without this one, in
 * millionths of a nat. For people to see: adapters earn by the shares that the agent version fixes.
 *
 * @param full The answer's score with all sources and adapters, as `measureContext` found it.
 */
export async function measureAdapters(
  engine: Engine,
  answer: MeasuredAnswer,
  full: number,
  signal?: AbortSignal,
): Promise<number[]> {
  const all = [answer.sources.map(() => true)];
  const without = answer.adapters.map((left) => {
    const adapters = answer.adapters.filter((adapter) => adapter !== left);
    return scoreMasks(engine, { ...answer, adapters }, all, { signal });
  });
  return (await Promise.all(without)).map(({ scores }) => full - scores[0]);
}

function millionths(logprob: number): number {
  return Math.max(FLOOR, Math.round(logprob * 1e6));
}

function cappedSum(tokens: readonly number[], full: readonly number[]): number {
  let sum = 0;
  for (let i = 0; i < tokens.length; i++) {
    sum += Math.min(full[i] + TOKEN_CAP, Math.max(full[i] - TOKEN_CAP, tokens[i]));
  }
  return sum;
}
