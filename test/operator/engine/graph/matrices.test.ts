import assert from "node:assert/strict";
import { statSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { groupChunks } from "../../../../operator/engine/graph/lora-delta.ts";
import { Matrices } from "../../../../operator/engine/graph/matrices.ts";
import { readModelConfig } from "../../../../operator/engine/model/config.ts";
import { dequantise, quantise } from "../../../../operator/engine/model/quantise.ts";
import { GraphBuilder } from "../../../../operator/engine/onnx/graph-builder.ts";
import { saveModel } from "../../../../operator/engine/onnx/serialise.ts";
import { nodeRuntime } from "../../../../operator/engine/runtime/node-runtime.ts";
import { randomModel, seededRandom, temporaryFolder } from "../reference/random-model.ts";

const ROWS = 40;
const COLUMNS = 96;

function randomMatrix(): Float32Array {
  const random = seededRandom(21);
  return Float32Array.from({ length: ROWS * COLUMNS }, () => random() * 2 - 1);
}

for (const bits of [4, 8] as const) {
  test(`${bits}-bit codes are within half a step of the weight, and zeros stay zero`, () => {
    const weights = randomMatrix();
    weights.fill(0, 64, 96);
    const quantised = quantise(weights, COLUMNS, bits);
    const back = dequantise(quantised, bits);
    for (const [i, value] of back.entries()) {
      const step = Math.abs(quantised.scales[Math.floor(i / 32)]);
      // The end of the range opposite to the largest value has one code less.
      assert.ok(Math.abs(value - weights[i]) <= step * (bits === 4 ? 1.0001 : 0.5001), `element ${i}`);
    }
    assert.ok(back.subarray(64, 96).every((value) => value === 0));
    assert.throws(() => quantise(weights.subarray(0, 40), 40, bits), /not a multiple of 32/);
  });

  test(`a ${bits}-bit matrix is multiplied and looked up as its dequantised weights, from the same bytes`, async () => {
    const weights = randomMatrix();
    const options = { quantisation: `q${bits}`, exact: true } as const;
    const matrices = new Matrices(options, new Map([["m", { weights: () => weights }]]));
    const g = new GraphBuilder("matrices");
    const x = g.input("x", "float32", ["n", COLUMNS]);
    const ids = g.input("ids", "int32", ["k"]);
    g.output(matrices.multiply(g, x, "m", ROWS, COLUMNS, "product"), "float32", ["n", ROWS]);
    g.output(g.op("Identity", [matrices.rows(g, ids, "m", ROWS, COLUMNS)], {}, "rows"), "float32", ["k", COLUMNS]);
    const folder = temporaryFolder();
    const session = await nodeRuntime.load(await saveModel(g, folder), { threads: 1, provider: "cpu" });
    const ones = Float32Array.from({ length: 2 * COLUMNS }, (_, i) => (i % 7) - 3);
    session.bind("x", { type: "float32", dims: [2, COLUMNS], data: ones });
    session.bind("ids", { type: "int32", dims: [2], data: Int32Array.of(39, 3) });
    const [product, rows] = await session.run([
      { name: "product", dims: [2, ROWS] },
      { name: "rows", dims: [2, COLUMNS] },
    ]);
    const expected = dequantise(quantise(weights, COLUMNS, bits), bits);
    assert.deepEqual(rows.subarray(COLUMNS), expected.subarray(3 * COLUMNS, 4 * COLUMNS));
    for (let i = 0; i < ROWS; i++) {
      let sum = 0;
      for (let j = 0; j < COLUMNS; j++) sum += expected[i * COLUMNS + j] * ones[j];
      assert.ok(Math.abs(product[i] - sum) < 1e-4, `output ${i}`);
    }
    await session.release();
    // Codes and scales, each from a new page on; the table of the look-up takes nothing.
    const scales = (ROWS * COLUMNS * 4) / 32;
    assert.equal(statSync(join(folder, "weights.bin")).size, 4096 + scales);
  });
}

test("a group's matrices are cut into chunks as wide as the narrowest", () => {
  const config = readModelConfig(randomModel().folder);
  assert.deepEqual(groupChunks(config, "qkv"), { width: 32, targets: [0, 0, 1, 2] });
  assert.deepEqual(groupChunks(config, "gateUp"), { width: 96, targets: [0, 1] });
  assert.deepEqual(groupChunks(config, "down"), { width: 64, targets: [0] });
});
