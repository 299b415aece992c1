import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { attribute } from "../../../operator/attribution/attribute.ts";
import { encodeTrace, type TraceInputs, traceHash } from "../../../operator/attribution/trace.ts";
import { renderPrompt, type Source, type TracedPrompt } from "../../../operator/attribution/traced-prompt.ts";
import { verifyTrace } from "../../../operator/attribution/verify-trace.ts";
import { readModelConfig } from "../../../operator/engine/model/config.ts";
import { readTokenizer } from "../../../operator/engine/model/tokenizer.ts";
import { type EmbeddedEngine, startEmbeddedEngine } from "../../../operator/engine/worker/embedded-engine.ts";
import { adapter, GRAPHS, MODEL } from "../engine/worker/tiny-model.ts";

const settings = {
  model: MODEL,
  quantisation: "f32",
  exact: true,
  threads: 1,
  memoryBytes: 512 * 2 ** 20,
  slots: 4,
  maxRank: 8,
  blockSize: 16,
  cache: GRAPHS,
} as const;

const adapters = [
  { id: "tales", path: adapter(1) },
  { id: "facts", path: adapter(2) },
];
const passages = [
  "The bridge was built in stone.",
  "A market is held on Mondays.",
  "Coal trains ran until the mine closed.",
  "The river floods every spring.",
  "Anna was an engineer.",
  "The granary is old.",
  "Otters sleep in kelp.",
  "Bees dance.",
  "The moon pulls the tides.",
  "Walrus tusks are teeth.",
];

/** The model has random weights: what it says means nothing, but how it depends on its context is real. */
describe("Attribution on the embedded engine", () => {
  let engine: EmbeddedEngine;
  let other: EmbeddedEngine;
  before(async () => {
    engine = await startEmbeddedEngine({ ...settings, maxBatch: 8 }, adapters);
    // Another operator's machine: smaller batches, so that the same scores are computed in other company.
    other = await startEmbeddedEngine({ ...settings, maxBatch: 3, prefillTokens: 64 }, adapters);
  });
  after(() => Promise.all([engine.close(), other.close()]));

  /** What went into an answer, and what the engine said about its tokens while it generated them. */
  async function answered(
    count: number,
    engine: EmbeddedEngine,
  ): Promise<{ inputs: TraceInputs; generated: number[] }> {
    const question = "Who built the bridge?";
    const sources: Source[] = [
      { kind: "prompt", id: 1, via: 0 },
      ...passages.slice(0, count).map((_, i) => ({ kind: "contribution" as const, id: 10 + i, via: 0 })),
    ];
    const prompt: TracedPrompt = {
      messages: [
        { role: "system", parts: [{ text: "Answer from the passages.", source: 0 }] },
        {
          role: "user",
          parts: [
            ...passages.slice(0, count).map((text, i) => ({ text: `${text}\n`, source: 1 + i })),
            { text: question },
          ],
        },
      ],
    };
    const uses = [{ id: "tales", weight: 0.75 }, { id: "facts" }];
    const tokens: number[] = [];
    const generated: number[] = [];
    let text = "";
    const request = {
      prompt: renderPrompt(
        prompt,
        sources.map(() => true),
      ),
      adapters: uses,
      sampling: { temperature: 0 },
      maxTokens: 24,
      ignoreEos: true,
      logprobs: 0,
    };
    let used: readonly { id: string; weight: number; hash?: string }[] = [];
    for await (const event of engine.generate(request)) {
      if (event.type === "start") used = event.adapters;
      if (event.type === "token") {
        tokens.push(event.tokenId!);
        generated.push(event.logprob!.logprob);
      }
      if (event.type === "token" || event.type === "finish") text += event.text;
    }
    const { model, modelHash, sparse, quantisation } = await engine.info();
    const inputs: TraceInputs = {
      agent: 2,
      version: 1,
      model: {
        name: model,
        ...(modelHash !== undefined && { hash: modelHash }),
        ...(sparse && { sparse }),
        quantisation,
      },
      adapters: used.map(({ id, weight, hash }, i) => ({
        id: 5 + i,
        version: 1,
        name: id,
        weight,
        ...(hash !== undefined && { hash }),
      })),
      prompt,
      question,
      sources,
      answer: { text, tokens },
      corpora: [],
      measures: { context: "leave-one-out", training: "influence" },
    };
    return { inputs, generated };
  }

  for (const [count, method, scores] of [
    [4, "leave-one-out", 6],
    [10, "surrogate", 65],
  ] as const) {
    test(`an answer from ${count} passages is traced, and another engine finds the same numbers (${method})`, async () => {
      const { inputs, generated } = await answered(count, engine);
      assert.equal(inputs.adapters.length, 2);
      assert.ok(inputs.model.hash !== undefined && inputs.adapters.every(({ hash }) => hash !== undefined));
      const { trace, bytes, hash, usage } = await attribute({ engine, inputs, corpora: [], generated });
      assert.equal(trace.context.method, method);
      assert.equal(trace.context.scores.length, scores);
      assert.ok(new Set(trace.context.scores).size > scores / 2, "every prompt gives the answer another probability");
      assert.ok(usage.cachedTokens > usage.promptTokens / 4, `${usage.cachedTokens} of ${usage.promptTokens} shared`);
      assert.ok(trace.adapterEffects.every((effect) => effect !== 0));

      const { decode } = readTokenizer(MODEL, readModelConfig(MODEL).vocabSize);
      const textOf = (tokens: readonly number[]) => decode([...tokens]);
      const noise = Array.from({ length: 6 }, async (_, i) => {
        for await (const _event of other.generate({ prompt: { text: `noise ${i}` }, maxTokens: 20 }));
      });
      const report = await verifyTrace(bytes, { hash, engine: other, textOf });
      await Promise.all(noise);
      assert.deepEqual(report.problems, []);
      assert.deepEqual(report.remeasured, ["scores", "text"]);
      assert.ok(report.largestDifference! <= 50, `off by ${report.largestDifference} millionths of a nat`);
    });
  }

  test("what the engine said while generating saves scoring the answer under all sources, and is the same", async () => {
    const { inputs, generated } = await answered(3, engine);
    const spared = await attribute({ engine, inputs, corpora: [], generated });
    const scored = await attribute({ engine, inputs, corpora: [] });
    const [{ scores }, { scores: again }] = [spared.trace.context, scored.trace.context];
    assert.ok(Math.abs(scores[0] - again[0]) <= 50, `${scores[0]} and ${again[0]}`);
    assert.ok(spared.usage.promptTokens < scored.usage.promptTokens);
    // An answer to which something was added after it was generated is scored as it stands.
    const longer = { ...inputs, answer: { ...inputs.answer, tokens: [...inputs.answer.tokens, 5] } };
    const whole = await attribute({ engine, inputs: longer, corpora: [], generated });
    assert.ok(whole.trace.context.scores[0] < scores[0] - 1_000);
  });

  test("scores under other adapters than the trace names, or under other weights of the same name, are found", async () => {
    const { inputs } = await answered(3, engine);
    const honest = await attribute({ engine, inputs, corpora: [] });
    const weaker = { ...inputs, adapters: [{ ...inputs.adapters[0], weight: 0.1 }, inputs.adapters[1]] };
    const { trace } = await attribute({ engine, inputs: weaker, corpora: [] });
    const forged = encodeTrace({ ...honest.trace, context: trace.context, pools: trace.pools });
    const report = await verifyTrace(forged, { hash: traceHash(forged), engine: other });
    assert.match(report.problems.join(), /score of ablation/);

    const renamed = { ...inputs, adapters: [{ ...inputs.adapters[0], hash: "0x00" }, inputs.adapters[1]] };
    const { bytes, hash } = await attribute({ engine, inputs: renamed, corpora: [] });
    assert.match((await verifyTrace(bytes, { hash, engine: other })).problems.join(), /adapter tales as/);
  });

  test("an answer says how its model's weights were kept, and an engine that rounds them otherwise judges no scores", async () => {
    const rounding = await startEmbeddedEngine({ ...settings, quantisation: "q8", warm: false }, adapters);
    try {
      const { inputs } = await answered(3, rounding);
      assert.equal(inputs.model.quantisation, "q8");
      const { bytes, hash } = await attribute({ engine: rounding, inputs, corpora: [] });
      const { problems, largestDifference } = await verifyTrace(bytes, { hash, engine: other });
      assert.match(problems.join(), /keeps weights in f32, the answer was computed with q8/);
      assert.equal(largestDifference, undefined);
      assert.deepEqual((await verifyTrace(bytes, { hash, engine: rounding })).problems, []);
    } finally {
      await rounding.close();
    }
  });

  test("an answer that left blocks out says so, and only an engine that leaves out the same verifies it", async () => {
    const sparse = { sinkBlocks: 1, localBlocks: 2, stride: 0 };
    const [leaving, same] = await Promise.all(
      [8, 3].map((maxBatch) => startEmbeddedEngine({ ...settings, maxBatch, sparse, warm: false }, adapters)),
    );
    try {
      const { inputs } = await answered(4, leaving);
      assert.deepEqual(inputs.model.sparse, { blockSize: 16, ...sparse });
      const honest = await attribute({ engine: leaving, inputs, corpora: [] });
      const again = await verifyTrace(honest.bytes, { hash: honest.hash, engine: same });
      assert.deepEqual([again.problems, again.remeasured], [[], ["scores"]]);
      assert.ok(again.largestDifference! <= 50, `off by ${again.largestDifference} millionths of a nat`);

      const dense = await verifyTrace(honest.bytes, { hash: honest.hash, engine: other });
      assert.match(
        dense.problems.join(),
        /engine attends to "everything", the answer was computed with \{"blockSize":16,/,
      );
      assert.deepEqual([dense.remeasured, dense.largestDifference], [[], undefined]);

      // Whoever leaves out and does not say so is found by the scores.
      const { sparse: _, ...model } = inputs.model;
      const hidden = await attribute({ engine: leaving, inputs: { ...inputs, model }, corpora: [] });
      const found = await verifyTrace(hidden.bytes, { hash: hidden.hash, engine: other });
      assert.match(found.problems.join(), /score of ablation/);
    } finally {
      await Promise.all([leaving.close(), same.close()]);
    }
  });
});
