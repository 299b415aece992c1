import { performance } from "node:perf_hooks";
import type { Engine } from "../../../operator/engine/engine.ts";
import { uniform, xorshift32 } from "../random.ts";
import { SHAPES, type ShapeName } from "../shapes.ts";
import { percentile, round3 } from "../timing.ts";

/** A prompt of a system text, eight retrieved sources and a question; an answer. Tokens. */
const SYSTEM = 64;
const SOURCES = 8;
const SOURCE = 48;
const QUESTION = 16;
const ANSWER = 32;

interface ScoringFigures {
  /** Milliseconds to write the answer once, and to score it under the whole prompt and with each source left out. */
  readonly generateMs: number;
  readonly scoreMs: number;
  readonly contexts: number;
  /** Attribution of an answer as a multiple of writing it. */
  readonly scorePerGenerate: number;
  /** Of the scored tokens, those that were not computed again because a prefix was shared. */
  readonly shared: number;
}

/** Leave-one-out attribution of one answer against writing that answer, both alone on the engine. */
export async function benchScoring(engine: Engine, shape: ShapeName, rounds: number): Promise<ScoringFigures> {
  const generate: number[] = [];
  const score: number[] = [];
  let shared = 0;
  for (let round = 0; round < rounds; round++) {
    const random = xorshift32(round + 1);
    const draw = (count: number) =>
      Array.from({ length: count }, () => 3 + Math.floor(uniform(random) * (SHAPES[shape].vocab - 3)));
    const system = draw(SYSTEM);
    const sources = Array.from({ length: SOURCES }, () => draw(SOURCE));
    const question = draw(QUESTION);
    const without = (left: number) => [...system, ...sources.filter((_, i) => i !== left).flat(), ...question];
    const contexts = [-1, ...sources.keys()].map((left) => ({ tokens: without(left) }));
    const start = performance.now();
    const answer: number[] = [];
    const sampling = { temperature: 0 };
    const request = { prompt: contexts[0], sampling, maxTokens: ANSWER, ignoreEos: true };
    for await (const event of engine.generate(request)) {
      if (event.type === "token" && event.tokenId !== undefined) answer.push(event.tokenId);
    }
    const written = performance.now();
    const { usage } = await engine.score({ contexts, continuation: { tokens: answer } });
    generate.push(written - start);
    score.push(performance.now() - written);
    shared = usage.cachedTokens / usage.promptTokens;
  }
  const [generateMs, scoreMs] = [percentile(generate, 0.5), percentile(score, 0.5)];
  return {
    generateMs: round3(generateMs),
    scoreMs: round3(scoreMs),
    contexts: SOURCES + 1,
    scorePerGenerate: round3(scoreMs / generateMs),
    shared: round3(shared),
  };
}
