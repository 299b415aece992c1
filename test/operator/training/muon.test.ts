import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { Muon } from "../../../operator/training/muon.ts";
import { ParameterLayout } from "../../../operator/training/parameters.ts";
import { seeded } from "../../../operator/training/random.ts";

type Matrix = number[][];

const times = (a: Matrix, b: Matrix): Matrix =>
  a.map((row) => b[0].map((_, j) => row.reduce((sum, value, k) => sum + value * b[k][j], 0)));
const transposed = (a: Matrix): Matrix => a[0].map((_, j) => a.map((row) => row[j]));
const scaled = (a: Matrix, factor: number): Matrix => a.map((row) => row.map((value) => value * factor));
const plus = (a: Matrix, b: Matrix): Matrix => a.map((row, i) => row.map((value, j) => value + b[i][j]));

/** The published iteration in float64, from the left whatever the matrix's form. */
function orthogonalised(matrix: Matrix): Matrix {
  let x = scaled(matrix, 1 / Math.hypot(...matrix.flat()));
  for (let round = 0; round < 5; round++) {
    const gram = times(x, transposed(x));
    const polynomial = plus(scaled(gram, -4.775), scaled(times(gram, gram), 2.0315));
    x = plus(scaled(x, 3.4445), times(polynomial, x));
  }
  return x;
}

const layout = new ParameterLayout([
  ["model.embed_tokens.weight", [9, 8]],
  ["model.layers.0.self_attn.q_proj.weight", [8, 8]],
  ["model.layers.0.mlp.gate_proj.weight", [12, 8]],
  ["model.layers.0.mlp.down_proj.weight", [8, 12]],
  ["model.layers.0.input_layernorm.weight", [8]],
  ["model.layers.1.mlp.gate_proj.weight", [12, 8]],
]);
const random = seeded(5);
const normal = (): Float32Array => Float32Array.from({ length: layout.size }, () => random.normal());

describe("Muon", () => {
  it("moves each layer's matrices along their orthogonalised momentum, as an independent float64 says", async () => {
    const settings = { momentum: 0.9, weightDecay: 0.2 };
    const matrices = Muon.parametersOf(layout);
    const muon = await Muon.open(matrices, settings, 1);
    const values = normal();
    const momentum = new Float32Array(layout.size);
    const expected = Float64Array.from(values);
    const trace = new Float64Array(layout.size);
    for (let step = 0; step < 3; step++) {
      const gradient = normal();
      await muon.update(values, gradient, momentum, 0.1, 0.5);
      for (const { offset, size, shape } of matrices) {
        const ahead = Array.from({ length: size }, (_, i) => {
          trace[offset + i] = 0.9 * trace[offset + i] + 0.5 * gradient[offset + i];
          return 0.5 * gradient[offset + i] + 0.9 * trace[offset + i];
        });
        const [rows, columns] = shape;
        const matrix = Array.from({ length: rows }, (_, i) => ahead.slice(i * columns, (i + 1) * columns));
        const move = orthogonalised(matrix).flat();
        const rate = 0.1 * 0.2 * Math.sqrt(Math.max(rows, columns));
        for (let i = 0; i < size; i++) expected[offset + i] = expected[offset + i] * (1 - 0.1 * 0.2) - rate * move[i];
      }
    }
    await muon.close();
    for (const [i, value] of values.entries()) assert.ok(Math.abs(value - expected[i]) < 2e-4, `element ${i}`);
  });

  it("leaves embeddings and vectors alone", async () => {
    const muon = await Muon.open(Muon.parametersOf(layout), { momentum: 0.9, weightDecay: 0.2 }, 1);
    const values = normal();
    const before = values.slice();
    await muon.update(values, normal(), new Float32Array(layout.size), 0.1, 1);
    await muon.close();
    for (const name of ["model.embed_tokens.weight", "model.layers.0.input_layernorm.weight"]) {
      assert.deepEqual(layout.view(values, name), layout.view(before, name));
    }
    assert.notDeepEqual(values, before);
  });

  it("moves in every direction alike, however weak the gradient is in some", async () => {
    const name = "model.layers.0.self_attn.q_proj.weight";
    const small = new ParameterLayout([[name, [8, 8]]]);
    const muon = await Muon.open(Muon.parametersOf(small), { momentum: 0, weightDecay: 0 }, 1);
    const gradient = new Float32Array(64);
    for (let i = 0; i < 8; i++) gradient[i * 9] = 10 ** -(i / 4);
    const values = new Float32Array(64);
    await muon.update(values, gradient, new Float32Array(64), 1, 1);
    await muon.close();
    const moves = Array.from({ length: 8 }, (_, i) => -values[i * 9] / (0.2 * Math.sqrt(8)));
    for (const move of moves) assert.ok(move > 0.6 && move < 1.3, String(moves));
  });
});
