import { availableParallelism } from "node:os";
import { join } from "node:path";
import { attribute } from "../../../operator/attribution/attribute.ts";
import type { TraceInputs } from "../../../operator/attribution/trace.ts";
import { renderPrompt, type TracedPrompt } from "../../../operator/attribution/traced-prompt.ts";
import type { Engine } from "../../../operator/engine/engine.ts";
import { startEmbeddedEngine } from "../../../operator/engine/worker/embedded-engine.ts";
import { benchCache } from "../shapes.ts";
import { percentile, round3 } from "../timing.ts";

/** Tokens of the answers whose causes are measured. */
const ANSWER_TOKENS = 128;

export interface AttributionBench {
  readonly model: string;
  /** Folder of the adapter for the second measurement. */
  readonly adapter: string;
  readonly rounds: number;
  /** Texts of the sources of one question, new ones each time. */
  readonly passages: () => readonly string[];
}

/** Medians over rounds of the time to measure, over the time to generate. */
interface AttributionCost {
  /** What each source did. */
  readonly plain: number;
  /** The same for an answer with an adapter, whose effect is measured as well. */
  readonly adapted: number;
}

/**
 * What measuring costs beside generating, in an engine that nobody else uses: with all processors, as an operator starts
 * it, and with one thread. The two take turns.
 */
export async function attributionCost(
  bench: AttributionBench,
): Promise<{ all: AttributionCost; oneThread: AttributionCost }> {
  const all = await startSide(bench, availableParallelism());
  const oneThread = await startSide(bench, 1);
  for (let round = 0; round < bench.rounds; round++) for (const side of [all, oneThread]) await side.measure();
  const costs = { all: all.costs(), oneThread: oneThread.costs() };
  for (const side of [all, oneThread]) await side.close();
  return costs;
}

async function startSide({ model, adapter, passages }: AttributionBench, threads: number) {
  const size = { threads, slots: 1, maxRank: 8, maxBatch: 8, memoryBytes: 2 ** 30 };
  const engine = await startEmbeddedEngine({ model, ...size, exact: true, cache: join(benchCache(), "graphs") });
  await engine.loadAdapter({ id: adapter, path: adapter });
  const ratios: { plain: number[]; adapted: number[] } = { plain: [], adapted: [] };
  const sides = [
    ["plain", []],
    ["adapted", [adapter]],
  ] as const;
  // Graphs are loaded when they are first used.
  for (const [, adapters] of sides) await measureOnce(engine, passages(), 16, adapters);
  return {
    async measure() {
      for (const [side, adapters] of sides) {
        const { generate, measure } = await measureOnce(engine, passages(), ANSWER_TOKENS, adapters);
        ratios[side].push(measure / generate);
      }
    },
    costs: (): AttributionCost => ({
      plain: round3(percentile(ratios.plain, 0.5)),
      adapted: round3(percentile(ratios.adapted, 0.5)),
    }),
    close: () => engine.close(),
  };
}

/**
 * Milliseconds to generate an answer from passages of several sources, asking for what a node asks for, and to measure
 * what each source and each adapter did.
 *
 * @param names of loaded adapters
 */
async function measureOnce(
  engine: Engine,
  passages: readonly string[],
  answerTokens: number,
  names: readonly string[],
): Promise<{ generate: number; measure: number }> {
  const sources = passages.map((_, i) => ({ kind: "contribution" as const, id: i + 1, via: 0 }));
  const parts = [...passages.map((text, source) => ({ text: `${text}\n`, source })), { text: "Question: why?" }];
  const prompt: TracedPrompt = { parts };
  const whole = renderPrompt(
    prompt,
    sources.map(() => true),
  );
  const adapters = names.map((id) => ({ id, weight: 1 / names.length }));
  const asked = { sampling: { temperature: 0 }, maxTokens: answerTokens, ignoreEos: true, logprobs: 0 };
  const tokens: number[] = [];
  const generated: number[] = [];
  let text = "";
  let started = performance.now();
  for await (const event of engine.generate({ prompt: whole, ...asked, adapters })) {
    if (event.type !== "token") continue;
    tokens.push(event.tokenId!);
    generated.push(event.logprob!.logprob);
    text += event.text;
  }
  const generate = performance.now() - started;
  const inputs: TraceInputs = {
    agent: 1,
    version: 1,
    model: { name: "measured" },
    adapters: adapters.map(({ id: name, weight }, i) => ({ id: i + 1, version: 1, name, weight })),
    prompt,
    question: "why?",
    sources,
    answer: { text, tokens },
    corpora: [],
    measures: { context: "leave-one-out", training: "influence" },
  };
  started = performance.now();
  await attribute({ engine, inputs, corpora: [], generated });
  return { generate, measure: performance.now() - started };
}
