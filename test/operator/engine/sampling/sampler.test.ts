import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { SamplingOptions } from "../../../../operator/engine/engine.ts";
import { EngineError } from "../../../../operator/engine/engine-error.ts";
import { DECAY_END, decay } from "../../../../operator/engine/sampling/decay.ts";
import { positionLogprobs } from "../../../../operator/engine/sampling/logprobs.ts";
import { uniform } from "../../../../operator/engine/sampling/random.ts";
import { Sampler } from "../../../../operator/engine/sampling/sampler.ts";
import { samplingParameters } from "../../../../operator/engine/sampling/sampling-parameters.ts";
import { TokenHistory } from "../../../../operator/engine/sampling/token-history.ts";

const VOCAB = 600;
const parameters = (options: SamplingOptions) => samplingParameters(options, VOCAB, () => 1);
const sampler = new Sampler(VOCAB);

function draws(logits: number[], options: SamplingOptions, count: number, history?: TokenHistory, mask?: Int32Array) {
  const chosen = parameters({ seed: 7, ...options });
  const seen = new Map<number, number>();
  for (let position = 0; position < count; position++) {
    const token = sampler.sample(Float32Array.from(logits), chosen, history, mask, 0, position);
    seen.set(token, (seen.get(token) ?? 0) + 1);
  }
  return seen;
}

/** The set that may be drawn and its probabilities, computed the slow way from the definitions. */
function reference(logits: number[], { temperature = 1, topK = 0, topP = 1, minP = 0 }: SamplingOptions) {
  const max = Math.max(...logits);
  let entries = logits
    .map(Math.fround)
    .map((logit, token) => ({ token, logit, weight: Math.exp((logit - Math.fround(max)) / temperature) }))
    .filter((entry) => entry.weight >= minP)
    .sort((a, b) => b.logit - a.logit || a.token - b.token);
  if (topK > 0) entries = entries.slice(0, topK);
  const total = entries.reduce((sum, entry) => sum + entry.weight, 0);
  let reached = 0;
  entries = entries.filter((entry, at) => {
    const keep = at === 0 || reached < topP * total;
    reached += entry.weight;
    return keep;
  });
  const kept = entries.reduce((sum, entry) => sum + entry.weight, 0);
  return new Map(entries.map((entry) => [entry.token, entry.weight / kept]));
}

test("draws follow the distribution that temperature, top-k, top-p and min-p define", () => {
  const logits = Array.from({ length: VOCAB }, (_, i) => 6 * Math.sin(i * 1.7));
  const cases: SamplingOptions[] = [
    {},
    { temperature: 0.5 },
    { temperature: 3 },
    { topK: 5 },
    { topP: 0.8 },
    { topP: 0.999, temperature: 5 },
    { minP: 0.05 },
    { topK: 12, topP: 0.9, minP: 0.01, temperature: 2 },
    { topK: 1000 },
  ];
  const count = 6_000;
  for (const options of cases) {
    const expected = reference(logits, options);
    const seen = draws(logits, options, count);
    for (const token of seen.keys()) assert.ok(expected.has(token), `${JSON.stringify(options)} drew ${token}`);
    for (const [token, probability] of expected) {
      // Five standard deviations; the seed is fixed, so this either always passes or never.
      const slack = 5 * Math.sqrt(count * probability * (1 - probability)) + 1;
      const difference = Math.abs((seen.get(token) ?? 0) - count * probability);
      assert.ok(difference <= slack, `${JSON.stringify(options)}: token ${token} is off by ${difference}`);
    }
  }
});

test("only tokens of the defined set are ever drawn, for random logits and options", () => {
  const logits = fc.array(fc.double({ min: -30, max: 30, noNaN: true }), { minLength: VOCAB, maxLength: VOCAB });
  const options = fc.record({
    temperature: fc.double({ min: 0.05, max: 5, noNaN: true }),
    topK: fc.integer({ min: 0, max: VOCAB }),
    topP: fc.double({ min: 0.01, max: 0.99, noNaN: true }),
    minP: fc.double({ min: 0, max: 0.5, noNaN: true }),
  });
  fc.assert(
    fc.property(logits, options, (values, choice) => {
      const allowed = reference(values, { ...choice, topP: Math.min(1, choice.topP + 1e-9) });
      for (const token of draws(values, choice, 20).keys()) assert.ok(allowed.has(token));
    }),
    { numRuns: 60 },
  );
});

test("greedy takes the likeliest token, the lowest id among equals", () => {
  const logits = Array.from({ length: VOCAB }, () => 0);
  logits[9] = logits[4] = 3;
  assert.deepEqual([...draws(logits, { temperature: 0 }, 3).keys()], [4]);
});

test("the same seed draws the same tokens, another seed and another choice draw others", () => {
  const run = (seed: number, stream: number) =>
    Array.from({ length: 50 }, (_, at) =>
      sampler.sample(new Float32Array(VOCAB), parameters({ seed }), undefined, undefined, stream, at),
    ).join();
  assert.equal(run(5, 0), run(5, 0));
  assert.notEqual(run(5, 0), run(6, 0));
  assert.notEqual(run(5, 0), run(5, 1));
  assert.notEqual(run(5, 0), run(5 + 2 ** 32, 0));
});

test("uniform draws fill their interval evenly along every argument", () => {
  for (const pick of [
    (i: number) => uniform(i, 0, 0),
    (i: number) => uniform(0, i, 0),
    (i: number) => uniform(0, 0, i),
  ]) {
    const bins = new Array<number>(16).fill(0);
    for (let i = 0; i < 16_000; i++) {
      const value = pick(i);
      assert.ok(value >= 0 && value < 1);
      bins[Math.floor(value * 16)]++;
    }
    const chiSquare = bins.reduce((sum, bin) => sum + (bin - 1000) ** 2 / 1000, 0);
    assert.ok(chiSquare < 45, `chi-square ${chiSquare} with 15 degrees of freedom`);
  }
});

test("repetition penalty touches prompt and answer, presence and frequency the answer alone", () => {
  const history = new TokenHistory([1]);
  history.add(2);
  history.add(2);
  history.add(2);
  const after = (options: SamplingOptions, logits: number[]): Float32Array => {
    const values = Float32Array.from(logits);
    sampler.sample(values, parameters({ temperature: 0, ...options }), history, undefined, 0, 0);
    return values;
  };
  assert.deepEqual([...after({ repetitionPenalty: 2 }, [4, 4, -4])], [4, 2, -8]);
  assert.deepEqual([...after({ presencePenalty: 1 }, [4, 4, 4])], [4, 4, 3]);
  assert.deepEqual([...after({ frequencyPenalty: 0.5 }, [4, 4, 4])], [4, 4, 2.5]);
});

test("logit bias can force and forbid a token", () => {
  const logits = Array.from({ length: VOCAB }, () => 1);
  assert.deepEqual([...draws(logits, { logitBias: { 17: 100 } }, 50).keys()], [17]);
  const forbidden = Object.fromEntries(logits.slice(1).map((_, i) => [i + 1, -100]));
  assert.deepEqual([...draws(logits, { logitBias: forbidden }, 50).keys()], [0]);
});

test("a mask leaves only the tokens whose bits are set, greedy or drawn", () => {
  const mask = new Int32Array(Math.ceil(VOCAB / 32));
  mask[0] = 1 << 31;
  mask[1] = 1 << 3;
  const logits = Array.from({ length: VOCAB }, (_, i) => (i === 3 ? 50 : 0));
  assert.deepEqual([...draws(logits, {}, 200, undefined, mask).keys()].sort(), [31, 35]);
  assert.deepEqual([...draws(logits, { temperature: 0 }, 2, undefined, mask).keys()], [31]);
});

test("logits without one finite number are an error of that request, never a token", () => {
  for (const bad of [Number.NaN, Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY]) {
    assert.throws(
      () =>
        draws(
          Array.from({ length: VOCAB }, () => bad),
          {},
          1,
        ),
      (error: unknown) => error instanceof EngineError && error.code === "failed",
    );
  }
});

test("options out of their range are refused by name", () => {
  const bad: [SamplingOptions, string][] = [
    [{ temperature: -1 }, "temperature"],
    [{ temperature: Number.NaN }, "temperature"],
    [{ topP: 0 }, "topP"],
    [{ topP: 1.1 }, "topP"],
    [{ topK: 1.5 }, "topK"],
    [{ minP: 2 }, "minP"],
    [{ repetitionPenalty: 0 }, "repetitionPenalty"],
    [{ presencePenalty: 3 }, "presencePenalty"],
    [{ frequencyPenalty: -3 }, "frequencyPenalty"],
    [{ logitBias: { [VOCAB]: 1 } }, "logitBias"],
    [{ logitBias: { 1: 101 } }, "logitBias"],
    [{ seed: 0.5 }, "seed"],
  ];
  for (const [options, name] of bad) {
    assert.throws(
      () => parameters(options),
      (error: unknown) =>
        error instanceof EngineError && error.code === "invalid_request" && error.message.includes(name),
    );
  }
});

test("log-probabilities are those of the plain softmax, the likeliest first", () => {
  const logits = Float32Array.from([1, 3, 3, -2]);
  const total = Math.log([1, 3, 3, -2].reduce((sum, logit) => sum + Math.exp(logit), 0));
  const { chosen, top } = positionLogprobs(logits, total, 0, 3);
  assert.ok(Math.abs(chosen - (1 - total)) < 1e-8);
  assert.deepEqual(
    top.map((entry) => entry.tokenId),
    [1, 2, 0],
  );
  assert.deepEqual([...logits], [1, 3, 3, -2]);
});

test("the fast exponential is within 3e-9 of the exact one over its whole range", () => {
  for (let x = 0; x < DECAY_END; x += 0.0007) assert.ok(Math.abs(decay(x) / Math.exp(-x) - 1) < 3e-9, `${x}`);
});
