import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { LORA_TARGETS } from "../../../operator/engine/model/lora.ts";
import { modulePath } from "../../../operator/engine/model/model-weights.ts";
import { makeBatch, type TokenRow } from "../../../operator/training/batch.ts";
import { GradientSession } from "../../../operator/training/gradient-session.ts";
import { type LoraPlan, loraNames, loraShapes } from "../../../operator/training/graph/training-graph.ts";
import { ParameterLayout } from "../../../operator/training/parameters.ts";
import { seeded } from "../../../operator/training/random.ts";
import { lossAndGradient, type Weights64 } from "./reference/backward.ts";
import { randomRows, randomWeights, relativeError, TINY } from "./tiny-model.ts";

const ROWS = randomRows(TINY, 4, [9, 6]);
const SHAPE = { rows: 3, length: 12 };
const PLAN: LoraPlan = { rank: 3, alpha: 7, targets: LORA_TARGETS };

/** Sum of the reference's losses and gradients over rows. */
function reference(config: typeof TINY, weights: Weights64, rows: readonly TokenRow[]) {
  const parts = rows.map(({ tokens, weights: w }) => {
    return lossAndGradient(config, weights, { tokens: [...tokens], weights: [...w].slice(1) });
  });
  const gradient: Weights64 = new Map();
  for (const name of weights.keys()) {
    const arrays = parts.map((part) => part.gradient.get(name)!);
    gradient.set(
      name,
      arrays[0].map((_, i) => arrays.reduce((sum, array) => sum + array[i], 0)),
    );
  }
  return { loss: parts.reduce((sum, part) => sum + part.loss, 0), gradient };
}

describe("GradientSession", () => {
  for (const tiedEmbeddings of [true, false]) {
    it(`gives the gradients of an independent float64 backward pass, tied embeddings ${tiedEmbeddings}`, async () => {
      const config = { ...TINY, tiedEmbeddings };
      const base = randomWeights(config, 1);
      const session = new GradientSession({ config, base, threads: 1 });
      const gradient = new Float32Array(base.layout.size);
      const { loss } = await session.accumulate(makeBatch(SHAPE, ROWS), gradient);
      const weights: Weights64 = new Map(
        base.layout.parameters.map(({ name }) => [name, Float64Array.from(base.layout.view(base.values, name))]),
      );
      const expected = reference(config, weights, ROWS);
      assert.ok(Math.abs(loss - expected.loss) <= 2e-6 * expected.loss, `loss ${loss} against ${expected.loss}`);
      for (const [name, values] of expected.gradient) {
        const error = relativeError(base.layout.view(gradient, name), values);
        assert.ok(error <= 5e-6, `${name} is off by ${error}`);
      }
      await session.close();
    });
  }

  it("gives LoRA gradients that are the full gradient of the merged weights, projected on the factors", async () => {
    const base = randomWeights(TINY, 1);
    const layout = new ParameterLayout(loraShapes(TINY, PLAN));
    const random = seeded(2, "factors");
    const values = Float32Array.from({ length: layout.size }, () => 0.3 * random.normal());
    const adapted = new GradientSession({ config: TINY, base, lora: { layout, values, plan: PLAN }, threads: 1 });
    const gradient = new Float32Array(layout.size);
    const { loss } = await adapted.accumulate(makeBatch(SHAPE, ROWS), gradient);

    const scale = PLAN.alpha / PLAN.rank;
    const merged = { layout: base.layout, values: base.values.slice() };
    const matrices = Array.from({ length: TINY.layers }, (_, layer) =>
      LORA_TARGETS.map((target) => {
        const { a, b } = loraNames(layer, target);
        return { module: `model.${modulePath(layer, target)}.weight`, aName: a, bName: b };
      }),
    ).flat();
    const shapeOf = new Map(loraShapes(TINY, PLAN));
    for (const { module, aName, bName } of matrices) {
      const weight = merged.layout.view(merged.values, module);
      const [a, b] = [layout.view(values, aName), layout.view(values, bName)];
      const [outputs, inputs] = [shapeOf.get(bName)![0], shapeOf.get(aName)![1]];
      for (let o = 0; o < outputs; o++) {
        for (let i = 0; i < inputs; i++) {
          let sum = 0;
          for (let r = 0; r < PLAN.rank; r++) sum += b[o * PLAN.rank + r] * a[r * inputs + i];
          weight[o * inputs + i] += scale * sum;
        }
      }
    }
    const full = new GradientSession({ config: TINY, base: merged, threads: 1 });
    const whole = new Float32Array(base.layout.size);
    const mergedLoss = (await full.accumulate(makeBatch(SHAPE, ROWS), whole)).loss;
    assert.ok(Math.abs(loss - mergedLoss) <= 1e-5 * mergedLoss);
    for (const { module, aName, bName } of matrices) {
      const dW = base.layout.view(whole, module);
      const [a, b] = [layout.view(values, aName), layout.view(values, bName)];
      const [outputs, inputs] = [shapeOf.get(bName)![0], shapeOf.get(aName)![1]];
      const dA = new Float64Array(a.length);
      const dB = new Float64Array(b.length);
      for (let o = 0; o < outputs; o++) {
        for (let i = 0; i < inputs; i++) {
          for (let r = 0; r < PLAN.rank; r++) {
            dA[r * inputs + i] += scale * b[o * PLAN.rank + r] * dW[o * inputs + i];
            dB[o * PLAN.rank + r] += scale * dW[o * inputs + i] * a[r * inputs + i];
          }
        }
      }
      assert.ok(relativeError(layout.view(gradient, aName), dA) <= 2e-5, aName);
      assert.ok(relativeError(layout.view(gradient, bName), dB) <= 2e-5, bName);
    }
    await adapted.close();
    await full.close();
  });

  it("gives a row the same loss and gradient whatever stands beside it and however it is padded", async () => {
    const base = randomWeights(TINY, 1);
    const session = new GradientSession({ config: TINY, base, threads: 1 });
    const alone = new Float32Array(base.layout.size);
    const apart = await session.accumulate(makeBatch({ rows: 1, length: 9 }, ROWS.slice(0, 1)), alone);
    await session.accumulate(makeBatch({ rows: 1, length: 32 }, ROWS.slice(1)), alone);
    const together = new Float32Array(base.layout.size);
    const both = await session.accumulate(makeBatch(SHAPE, ROWS), together);
    assert.ok(relativeError(together, alone) <= 2e-6);
    assert.ok(Math.abs(both.logProbabilities[3] - apart.logProbabilities[3]) <= 1e-5);
    await session.close();
  });

  it("predicts the token that the weights make likeliest", async () => {
    const base = randomWeights(TINY, 1);
    const session = new GradientSession({ config: TINY, base, threads: 1 });
    const { predictions } = await session.predict(makeBatch(SHAPE, ROWS));
    // The likeliest token is the one whose log-probability no other target reaches.
    const best = Number(predictions[4]);
    const scores: number[] = [];
    for (let token = 0; token < TINY.vocabSize; token++) {
      const tokens = ROWS[0].tokens.with(5, token);
      const { logProbabilities } = await session.predict(makeBatch(SHAPE, [{ ...ROWS[0], tokens }]));
      scores.push(logProbabilities[4]);
    }
    assert.equal(best, scores.indexOf(Math.max(...scores)));
    await session.close();
  });
});
