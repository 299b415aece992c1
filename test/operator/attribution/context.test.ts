import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { measureAdapters, measureContext } from "../../../operator/attribution/context.ts";
import type { Source } from "../../../operator/attribution/traced-prompt.ts";
import { answerFrom, effectsById, SEED } from "./answers.ts";
import { ngramEngine, ngramTokens } from "./ngram-engine.ts";

const engine = ngramEngine();
const animals = ["otter", "beaver", "walrus", "seal", "heron", "newt", "toad", "crab", "eel", "pike", "stork", "vole"];
const facts = animals.map((animal, i) => ({
  id: 100 + i,
  text: `The ${animal} of lake ${animals[(i * 5 + 2) % 12]} weighs ${17 * i + 3} pounds exactly.`,
}));
const answerOf = (i: number) => facts[i].text.replace(/^The/, "the");

describe("Context attribution", () => {
  test("the effect is the answer's log-probability with all sources minus that without the source", async () => {
    const answer = answerFrom(facts.slice(0, 3), "What does the beaver weigh?", answerOf(1));
    const { measurement } = await measureContext(engine, answer, SEED);
    const prompts = [
      [0, 1, 2],
      [1, 2],
      [0, 2],
      [0, 1],
    ].map((kept) => ({
      text:
        "Answer from these passages.\n" +
        kept.map((i) => `Passage: ${facts[i].text}\n`).join("") +
        "Question: What does the beaver weigh?\nAnswer:",
    }));
    const { scores } = await engine.score({ contexts: prompts, continuation: { tokens: answer.tokens } });
    const expected = [1, 2, 3].map((i) => (scores[0].logprob - scores[i].logprob) * 1e6);
    measurement.effects.forEach((effect, i) => {
      assert.ok(Math.abs(effect - expected[i]) <= answer.tokens.length, `${effect} ${expected[i]}`);
    });
    assert.equal(measurement.method, "leave-one-out");
    assert.equal(measurement.masks.length, 4);
    assert.ok(measurement.effects[1] > 10e6 && measurement.effects[0] < measurement.effects[1] / 10);
  });

  test("prompt and tool results are measured like passages, and a message goes with its source", async () => {
    const sources: Source[] = [
      { kind: "prompt", id: 5, via: 0 },
      { kind: "contribution", id: 6, via: 0 },
      { kind: "tool", id: 7, via: 1 },
    ];
    const prompt = {
      messages: [
        { role: "system", parts: [{ text: "Speak like a pirate: arr matey.", source: 0 }] },
        {
          role: "user",
          parts: [{ text: "Passage: kelp grows in cold water.\n", source: 1 }, { text: "Where is kelp?" }],
        },
        { role: "assistant", parts: [{ text: "" }], source: 2, tool_calls: [{ name: "depth" }] },
        { role: "tool", parts: [{ text: "depth of kelp: 40 metres", source: 2 }], tool_call_id: "1" },
      ],
    };
    const answer = { prompt, sources, tokens: ngramTokens("arr matey, in cold water, 40 metres"), adapters: [] };
    const seen: number[] = [];
    const watching = {
      ...engine,
      score: (request: Parameters<typeof engine.score>[0]) => {
        for (const context of request.contexts) if ("messages" in context) seen.push(context.messages.length);
        return engine.score(request);
      },
    };
    const { measurement } = await measureContext(watching, answer, SEED);
    assert.deepEqual(seen, [4, 3, 4, 2]);
    for (const effect of measurement.effects) assert.ok(effect > 1e6);
  });

  test("above eight sources the surrogate finds who moved the answer", async () => {
    for (const which of [0, 4, 11]) {
      const answer = answerFrom(facts, `Tell about ${animals[which]}.`, answerOf(which));
      const { measurement } = await measureContext(engine, answer, SEED);
      assert.equal(measurement.method, "surrogate");
      assert.equal(measurement.masks.length, 65);
      const effects = await effectsById(answer);
      const ranked = [...effects].sort((a, b) => b[1] - a[1]);
      assert.equal(ranked[0][0], facts[which].id);
      assert.ok(ranked[0][1] > 5 * Math.max(0, ranked[1][1]), JSON.stringify(ranked));
    }
  });

  test("the surrogate predicts scores of masks it never saw", async () => {
    const shown = facts.slice(0, 10);
    const answer = answerFrom(shown, "Compare two.", `${answerOf(2)} ${answerOf(7)} ${answerOf(4)}`);
    const { measurement } = await measureContext(engine, answer, SEED);
    const other = await measureContext(engine, answer, new Uint8Array(32).fill(9));
    const fresh = other.measurement.masks.slice(1);
    const actual = other.measurement.scores.slice(1);
    const predicted = fresh.map((mask) => mask.reduce((sum, kept, i) => sum + (kept ? measurement.effects[i] : 0), 0));
    assert.notDeepEqual(other.measurement.masks, measurement.masks);
    assert.ok(rankCorrelation(predicted, actual) > 0.9);
  });

  test("the same inputs give the same numbers, another seed other masks", async () => {
    const answer = answerFrom(facts, "All?", answerOf(3));
    const first = await measureContext(engine, answer, SEED);
    assert.deepEqual(await measureContext(ngramEngine(), answer, SEED), first);
    const other = await measureContext(engine, answer, new Uint8Array(32));
    assert.notDeepEqual(other.measurement.masks, first.measurement.masks);
  });

  test("one token counts sixteen nats at most, and an impossible one still has a score", async () => {
    const answer = answerFrom(facts.slice(0, 2), "?", "unsayable");
    const scoring = (logprobs: readonly number[]) => ({
      ...engine,
      score: async (request: Parameters<typeof engine.score>[0]) => {
        const result = await engine.score(request);
        return { ...result, scores: result.scores.map((score, i) => ({ ...score, tokenLogprobs: [logprobs[i]] })) };
      },
    });
    const lost = await measureContext(scoring([-0.5, -Infinity, -0.5]), answer, SEED);
    assert.deepEqual(lost.measurement.effects, [16_000_000, 0]);
    const forced = await measureContext(scoring([-Infinity, -0.5, -Infinity]), answer, SEED);
    assert.deepEqual(forced.measurement.scores, [-100_000_000, -84_000_000, -100_000_000]);
  });

  test("an answer without sources that the engine has judged while generating needs no scoring", async () => {
    const answer = answerFrom([], "?", answerOf(0));
    const silent = { ...engine, score: () => Promise.reject(new Error("asked")) };
    const bare = { ...answer, sources: [], prompt: { parts: [{ text: "Why?" }] } };
    const generated = answer.tokens.map((_, i) => -i / 4);
    const { measurement, usage } = await measureContext(silent, bare, SEED, { generated });
    assert.deepEqual(measurement.scores, [generated.reduce((sum, logprob) => sum + logprob * 1e6, 0)]);
    assert.equal(usage.promptTokens, 0);
    await assert.rejects(measureContext(silent, bare, SEED, { generated: generated.slice(1) }), /asked/);
  });

  test("an adapter's effect is measured against the blend without it", async () => {
    const learnt = ngramEngine({ tales: "the otter of lake walrus weighs 3 pounds exactly", noise: "zig zag zog" });
    const answer = { ...answerFrom([], "?", answerOf(0)), adapters: [{ id: "tales" }, { id: "noise" }] };
    const { measurement } = await measureContext(learnt, answer, SEED);
    const [tales, noise] = await measureAdapters(learnt, answer, measurement.scores[0]);
    assert.ok(tales > 5e6 && Math.abs(noise) < tales / 4, `${tales} ${noise}`);
  });
});

/** Spearman's. */
function rankCorrelation(a: readonly number[], b: readonly number[]): number {
  const ranks = (list: readonly number[]) => list.map((value) => list.filter((other) => other < value).length);
  const [x, y] = [ranks(a), ranks(b)];
  const mean = (list: readonly number[]) => list.reduce((sum, value) => sum + value, 0) / list.length;
  const [mx, my] = [mean(x), mean(y)];
  const spread = (list: readonly number[], m: number) =>
    Math.sqrt(list.reduce((sum, value) => sum + (value - m) ** 2, 0));
  return x.reduce((sum, value, i) => sum + (value - mx) * (y[i] - my), 0) / (spread(x, mx) * spread(y, my));
}
