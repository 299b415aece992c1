import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { type Attribution, attribute } from "../../../operator/attribution/attribute.ts";
import { decodeTrace } from "../../../operator/attribution/decode-trace.ts";
import {
  encodeTrace,
  MalformedTrace,
  type Trace,
  type TraceInputs,
  traceHash,
} from "../../../operator/attribution/trace.ts";
import { buildVerbatimCorpus } from "../../../operator/attribution/verbatim/build-corpus.ts";
import { VerbatimCorpus } from "../../../operator/attribution/verbatim/verbatim-corpus.ts";
import { verifyTrace } from "../../../operator/attribution/verify-trace.ts";
import { canonicalJson, type Json } from "../../../operator/protocol/canonical-json.ts";
import type { DataNetIndex } from "../../../operator/retrieval/data-net-index.ts";
import { search } from "../../../operator/retrieval/search.ts";
import { ngramEngine, ngramTokens } from "./ngram-engine.ts";
import { Corpora } from "./verbatim/corpora.ts";

const engine = ngramEngine({ tales: "it was built in 1862 by the engineer anna weiss" });
const textOf = (text: string) => (tokens: readonly number[]) =>
  ngramTokens(text).join() === tokens.join() ? text : "";

describe("Traces", () => {
  let corpora: Corpora;
  let index: DataNetIndex;
  let corpus: VerbatimCorpus;
  let inputs: TraceInputs;
  let done: Attribution;

  before(async () => {
    corpora = new Corpora();
    const document = (text: string) => [{ path: "town.md", bytes: Buffer.from(text) }];
    index = await corpora.index([
      { contribution: 10, documents: document("The bridge of Karlow was built in 1862 by the engineer Anna Weiss.") },
      { contribution: 11, documents: document("The market of Karlow is held on Mondays before the old granary.") },
      { contribution: 12, documents: document("Karlow lies on the river Tarn, which floods every spring.") },
    ]);
    await buildVerbatimCorpus(index);
    corpus = new VerbatimCorpus(index);
    const question = "Who built the bridge of Karlow?";
    const hits = await search([index], question);
    const answer = "It was built in 1862 by the engineer Anna Weiss. ♥";
    inputs = {
      agent: 3,
      version: 1,
      model: { name: "ngram", hash: "0x6e" },
      adapters: [{ id: 9, version: 1, name: "tales", weight: 1 }],
      prompt: {
        messages: [
          { role: "system", parts: [{ text: "Answer in one sentence.", source: 0 }] },
          {
            role: "user",
            parts: [
              ...hits.map(({ text }, i) => ({ text: `[${i + 1}] ${text}\n`, source: 1 + i })),
              { text: question },
            ],
          },
        ],
      },
      question,
      sources: [
        { kind: "prompt", id: 5, via: 0 },
        ...hits.map(({ contribution, dataNet, version, path, start, end, rangeOver }) => ({
          kind: "contribution" as const,
          id: contribution,
          via: 0,
          owner: `0x${contribution}`,
          passages: [{ dataNet, version, path, start, end, rangeOver }],
        })),
      ],
      answer: { text: answer, tokens: ngramTokens(answer) },
      corpora: [{ dataNet: index.dataNet, version: 1, corpusHash: index.corpusHash, context: 0, training: 8 }],
      measures: { context: "leave-one-out", training: "verbatim" },
    };
    done = await attribute({ engine, inputs, corpora: [corpus] });
  });
  after(() => {
    corpus.close();
    corpora.close();
  });

  const everything = () => ({
    engine: ngramEngine({ tales: "it was built in 1862 by the engineer anna weiss" }),
    corpora: [corpus],
    indexes: [index],
    textOf: textOf(inputs.answer.text),
    influence: async () => [],
  });
  const verify = (trace: Trace) => {
    const bytes = encodeTrace(trace);
    return verifyTrace(bytes, { ...everything(), hash: traceHash(bytes) });
  };

  test("an honest trace passes: hash, arithmetic, scores, passages, spans and shares", async () => {
    const report = await verifyTrace(done.bytes, { ...everything(), hash: done.hash, pools: done.trace.pools });
    assert.deepEqual(report, {
      ok: true,
      problems: [],
      remeasured: ["scores", "text", "passages", "verbatim", "influence"],
      largestDifference: 0,
    });
    assert.ok(done.trace.pools.context.some(({ id, ppm }) => id === 10 && ppm > 800_000));
    assert.deepEqual(done.trace.pools.training, [{ id: 10, ppm: 1_000_000, via: 8 }]);
    assert.ok(done.trace.adapterEffects[0] > 0);
  });

  test("the same inputs give the same bytes, and reading them gives the same trace", async () => {
    const again = await attribute({ engine: everything().engine, inputs, corpora: [corpus] });
    assert.deepEqual(again.bytes, done.bytes);
    assert.deepEqual(again.hash, done.hash);
    assert.deepEqual(encodeTrace(decodeTrace(done.bytes)), done.bytes);
  });

  test("without engine and DataNets the arithmetic is still checked, and the report says what was not", async () => {
    const report = await verifyTrace(done.bytes, { hash: done.hash });
    assert.deepEqual([report.ok, report.remeasured, report.largestDifference], [true, [], undefined]);
  });

  test("a trace under another hash, or whose shares are not the receipt's, is a lie", async () => {
    const other = await verifyTrace(done.bytes, { hash: new Uint8Array(32) });
    assert.match(other.problems.join(), /has hash 0x/);
    const pools = { ...done.trace.pools, context: [{ id: 12, ppm: 1_000_000, via: 0 }] };
    const paid = await verifyTrace(done.bytes, { hash: done.hash, pools });
    assert.match(paid.problems.join(), /receipt's shares/);
  });

  const copy = () => structuredClone(done.trace) as Mutable<Trace>;
  type Mutable<T> = { -readonly [K in keyof T]: Mutable<T[K]> };
  const lies: Record<string, [(trace: Mutable<Trace>) => void, RegExp]> = {
    "shares moved to a friend": [(t) => (t.pools.context[0].ppm += 1), /shares do not follow/],
    "an effect raised": [(t) => (t.context.effects[2] += 50_000), /effects do not follow/],
    "a cluster dissolved": [(t) => t.context.clusters.pop(), /ablations are not those/],
    "a mask changed": [(t) => (t.context.masks[1][0] = true), /ablations are not those/],
    "a score left out": [(t) => t.context.scores.pop(), /one score for each/],
    "a source listed twice": [(t) => t.inputs.sources.push({ ...t.inputs.sources[1] }), /listed twice/],
    "a part of no source": [
      (t) => "messages" in t.inputs.prompt && (t.inputs.prompt.messages[0].parts[0].source = 77),
      /not listed/,
    ],
    "no answer": [(t) => (t.inputs.answer.tokens = []), /no tokens/],
  };
  for (const [lie, [tell, expected]] of Object.entries(lies)) {
    test(`found by arithmetic alone: ${lie}`, async () => {
      const trace = copy();
      tell(trace);
      const bytes = encodeTrace(trace as Trace);
      const report = await verifyTrace(bytes, { hash: traceHash(bytes) });
      assert.equal(report.ok, false);
      assert.match(report.problems.join(), expected);
    });
  }

  // A liar who recomputes all that follows: only measuring again finds these.
  async function forged(
    change: (inputs: Mutable<TraceInputs>) => void,
    score?: (scores: number[]) => void,
  ): Promise<Trace> {
    const changed = structuredClone(inputs) as Mutable<TraceInputs>;
    change(changed);
    const lying = {
      ...engine,
      score: async (request: Parameters<typeof engine.score>[0]) => {
        const result = await engine.score(request);
        if (!score || request.contexts.length < 2) return result;
        const logprobs = result.scores.map(({ tokenLogprobs }) => tokenLogprobs[0]);
        score(logprobs);
        return {
          ...result,
          scores: result.scores.map((entry, i) => ({
            ...entry,
            tokenLogprobs: [logprobs[i], ...entry.tokenLogprobs.slice(1)],
          })),
        };
      },
    };
    return (await attribute({ engine: lying, inputs: changed as TraceInputs, corpora: [corpus] })).trace;
  }

  test("found by scoring again: a score that favours a friend", async () => {
    const trace = await forged(
      () => {},
      (scores) => (scores[scores.length - 1] -= 3),
    );
    assert.match((await verify(trace)).problems.join(), /score of ablation 4 .* measured again/);
  });

  test("found in the DataNets: a passage credited to another contribution, or text that is none of its passages", async () => {
    const swapped = await forged((changed) => {
      changed.sources[1].id = 12;
      changed.sources.splice(2, 2);
      if ("messages" in changed.prompt) changed.prompt.messages[1].parts = changed.prompt.messages[1].parts.slice(0, 1);
    });
    assert.match((await verify(swapped)).problems.join(), /Contribution 12 has no such passage/);
    const added = await forged((changed) => {
      if ("messages" in changed.prompt)
        changed.prompt.messages[1].parts[2].text += "built in 1862 by Anna Weiss. ".repeat(9);
    });
    assert.match((await verify(added)).problems.join(), /credited with text that is none of its passages/);
  });

  test("found by the tokenizer: tokens that do not spell the answer", async () => {
    const trace = await forged((changed) => {
      changed.answer.tokens = ngramTokens("The market of Karlow is held on Mondays");
    });
    assert.match((await verify(trace)).problems.join(), /do not spell/);
  });

  test("found by searching again: a span that is not there, DataNets that were not searched", async () => {
    const trace = copy();
    trace.spans = [];
    trace.pools.training = [];
    assert.match((await verify(trace as Trace)).problems.join(), /verbatim spans are not those/);
    const bytes = encodeTrace(done.trace);
    const report = await verifyTrace(bytes, { hash: done.hash, corpora: [] });
    assert.match(report.problems.join(), /not those that the trace names/);
    await assert.rejects(attribute({ engine, inputs, corpora: [] }), /not those that the inputs name/);
  });

  test("bytes that are no trace are refused with the field that is wrong, and never by a crash", async () => {
    const text = new TextDecoder().decode(done.bytes);
    const refused: [string, RegExp][] = [
      ["{", /no JSON/],
      ["null", /trace is not an object/],
      ["{}", /trace.format is not there/],
      [text.replace('"format":1', '"format":2'), /trace.format is not one of 1/],
      [text.replace('"format":1', '"format": 1'), /canonical/],
      [text.replace('"agent":3', '"agent":-3'), /trace.inputs.agent is not a natural number/],
      [text.replace('"agent":3', '"agent":3,"agent":3'), /canonical/],
      [text.replace('"owner"', '"winner"'), /winner is not known/],
      [text.replace("♥", "\\u2665"), /canonical/],
      [text.replace("♥", "\\ud800"), /surrogates/],
      [
        text
          .replace('"tools"', '"tools"')
          .replace('"role":"system"', `"role":"system","tool_calls":[${"[".repeat(50_000)}${"]".repeat(50_000)}]`),
        /trace/,
      ],
    ];
    for (const [lie, message] of refused) {
      assert.throws(
        () => decodeTrace(new TextEncoder().encode(lie)),
        (error: Error) => error instanceof MalformedTrace && message.test(error.message),
        lie.slice(0, 40),
      );
    }
    assert.equal((await verifyTrace(Buffer.from([0xff]), { hash: done.hash })).ok, false);
  });

  test("canonical JSON is RFC 8785: its example of sorting and numbers", () => {
    const value: Json = {
      "\u20ac": "Euro Sign",
      "\r": "Carriage Return",
      "\ufb33": "Hebrew Letter Dalet With Dagesh",
      "1": "One",
      "\ud83d\ude00": "Emoji: Grinning Face",
      "\u0080": "Control",
      "\u00f6": "Latin Small Letter O With Diaeresis",
    };
    assert.deepEqual(Object.values(JSON.parse(canonicalJson(value).replaceAll('"1"', '"one"'))), [
      "Carriage Return",
      "One",
      "Control",
      "Latin Small Letter O With Diaeresis",
      "Euro Sign",
      "Emoji: Grinning Face",
      "Hebrew Letter Dalet With Dagesh",
    ]);
    assert.equal(
      canonicalJson([1e21 / 3, 1e30, 4.5, 2e-3, 0.000000000000000000000000001]),
      "[333333333333333300000,1e+30,4.5,0.002,1e-27]",
    );
    assert.throws(() => canonicalJson(Number.NaN), TypeError);
  });
});
