import assert from "node:assert/strict";
import { test } from "node:test";
import { Matrices } from "../../../../operator/engine/graph/matrices.ts";
import { dequantise, quantise, quantiseRows } from "../../../../operator/engine/model/quantise.ts";
import { GraphBuilder } from "../../../../operator/engine/onnx/graph-builder.ts";
import { saveModel } from "../../../../operator/engine/onnx/serialise.ts";
import { nodeRuntime } from "../../../../operator/engine/runtime/node-runtime.ts";
import { sums8BitProducts } from "../../../../operator/engine/runtime/processor.ts";
import { seededRandom, temporaryFolder } from "../reference/random-model.ts";

const [OUTPUTS, INPUTS, TOKENS] = [80, 96, 5];
const random = seededRandom(4);
const weights = Float32Array.from({ length: OUTPUTS * INPUTS }, () => random() - 0.5);
const bias = Float32Array.from({ length: OUTPUTS }, () => random() - 0.5);

const g = new GraphBuilder("int8");
const options = { quantisation: "q4", exact: false, int8: true } as const;
const matrices = new Matrices(options, new Map([["m", { weights: () => weights, bias: () => bias }]]));
g.output(matrices.multiply(g, g.input("x", "float32", ["n", INPUTS]), "m", OUTPUTS, INPUTS, "y"), "float32", [
  "n",
  OUTPUTS,
]);
const session = await nodeRuntime.load(await saveModel(g, temporaryFolder()), { threads: 1, provider: "cpu" });

async function product(x: Float32Array): Promise<Float32Array> {
  session.bind("x", { type: "float32", dims: [x.length / INPUTS, INPUTS], data: x });
  const [y] = await session.run([{ name: "y", dims: [x.length / INPUTS, OUTPUTS] }]);
  return y.slice();
}

/** Tokens of very different size: each has a scale of its own. */
function tokens(): Float32Array {
  return Float32Array.from(
    { length: TOKENS * INPUTS },
    (_, i) => (random() - 0.5) * 10 ** (Math.floor(i / INPUTS) - 2),
  );
}

test("rows are quantised to within half a step and transposed", () => {
  const { codes, scales } = quantiseRows(weights, INPUTS);
  for (let row = 0; row < OUTPUTS; row++) {
    for (let column = 0; column < INPUTS; column++) {
      const back = codes[column * OUTPUTS + row] * scales[row];
      assert.ok(Math.abs(back - weights[row * INPUTS + column]) <= scales[row] * 0.5001);
    }
  }
  assert.deepEqual([...quantiseRows(new Float32Array(4), 2).codes], [0, 0, 0, 0]);
});

/** Elsewhere the engine refuses to multiply in 8 bits. */
const skip = sums8BitProducts() ? false : "this processor has neither VNNI nor AMX";

test("8-bit products stay within a hundredth of those of the weights that few bits stand for", { skip }, async () => {
  const exact = dequantise(quantise(weights, INPUTS, 4), 4);
  const x = tokens();
  const y = await product(x);
  for (let token = 0; token < TOKENS; token++) {
    let [error, size] = [0, 0];
    for (let output = 0; output < OUTPUTS; output++) {
      let sum = 0;
      for (let i = 0; i < INPUTS; i++) sum += exact[output * INPUTS + i] * x[token * INPUTS + i];
      error += (y[token * OUTPUTS + output] - sum - bias[output]) ** 2;
      size += sum ** 2;
    }
    assert.ok(Math.sqrt(error / size) < 0.012, `token ${token}: ${Math.sqrt(error / size)}`);
  }
});

test("a token's product does not depend on the others, and what is not finite stays so where it was", async () => {
  const x = tokens();
  const before = await product(x);
  const outputs = (y: Float32Array, token: number) => y.subarray(token * OUTPUTS, (token + 1) * OUTPUTS);
  for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
    for (const at of [0, 41, INPUTS - 1]) {
      const poisoned = x.slice();
      poisoned[2 * INPUTS + at] = bad;
      const after = await product(poisoned);
      for (const token of [0, 1, 3, 4]) assert.deepEqual(outputs(after, token), outputs(before, token));
      assert.ok(!outputs(after, 2).some(Number.isFinite), `${bad} at ${at}`);
    }
  }
  assert.deepEqual(outputs(await product(x.fill(0, INPUTS, 2 * INPUTS)), 1), bias, "nothing times anything is nothing");
});
