import assert from "node:assert/strict";
import { test } from "node:test";
import { logSoftmax, type ReferenceModel, referenceLogits, relativeL2 } from "./forward.ts";
import { type HfConfig, randomModel } from "./random-model.ts";

function reference(overrides: Partial<HfConfig> = {}): ReferenceModel {
  const model = randomModel(overrides);
  return { config: model.config, weights: (name) => model.tensors.get(name)?.data };
}

const TOKENS = [5, 17, 80, 3, 41, 9, 60, 22];

test("what comes later changes nothing before it, and everything after", () => {
  const model = reference();
  const changed = [...TOKENS];
  changed[4] = 42;
  const [a, b] = [TOKENS, changed].map((tokens) => referenceLogits(model, tokens));
  assert.equal(relativeL2(a.slice(0, 4), b.slice(0, 4)), 0);
  for (let i = 4; i < 8; i++) assert.ok(relativeL2([a[i]], [b[i]]) > 1e-3);
});

test("a window forgets what lies further back than it and the layers above reach", () => {
  const windowed = { model_type: "mistral", architectures: ["MistralForCausalLM"], sliding_window: 2 };
  const model = reference(windowed);
  const changed = [9, ...TOKENS.slice(1)];
  const [a, b] = [TOKENS, changed].map((tokens) => referenceLogits(model, tokens));
  // Two layers of window 2: position 2 still sees position 0 through position 1.
  assert.ok(relativeL2([a[2]], [b[2]]) > 1e-6);
  assert.equal(relativeL2(a.slice(3), b.slice(3)), 0);
});

test("one token attends to itself alone: its value passes through whatever its query and key are", () => {
  const model = reference();
  const scaled: ReferenceModel = {
    config: model.config,
    weights: (name) => {
      const weights = model.weights(name);
      return /[qk]_proj/.test(name) && weights ? Array.from(weights, (value) => value * 3) : weights;
    },
  };
  assert.equal(relativeL2(referenceLogits(scaled, [7]), referenceLogits(model, [7])), 0);
  assert.ok(relativeL2(referenceLogits(scaled, TOKENS), referenceLogits(model, TOKENS)) > 1e-3);
});

test("log-probabilities of a row add up to one", () => {
  const [row] = referenceLogits(reference(), [7]);
  const total = logSoftmax(row).reduce((sum, value) => sum + Math.exp(value), 0);
  assert.ok(Math.abs(total - 1) < 1e-12);
});
