import assert from "node:assert/strict";
import { test } from "node:test";
import { factorKernels } from "../../../../operator/engine/model/factor-kernels.ts";
import { seededRandom } from "../reference/random-model.ts";

/** Where a matrix begins, four bytes past a multiple of sixteen as in a file, and where its transpose goes. */
const [FROM, TO] = [52, 40_960];

const kernels = factorKernels();
kernels.memory.grow(2);

function write(values: readonly number[]): Float32Array {
  const view = new Float32Array(kernels.memory.buffer, FROM, values.length);
  view.set(values);
  return view;
}

for (const [rows, columns] of [
  [4, 4],
  [8, 4],
  [4, 16],
  [60, 8],
  [576, 16],
] as const) {
  test(`${rows} by ${columns} is transposed and scaled to the bit, and nothing beside it is written`, () => {
    const random = seededRandom(rows * columns);
    const values = write(Array.from({ length: rows * columns }, () => random() - 0.5));
    const around = new Float32Array(kernels.memory.buffer, TO - 16, values.length + 8).fill(7);
    const scale = 32 / 24;
    let squares = 0;
    const sum = kernels.transpose(FROM, TO, rows, columns, scale);
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        const expected = Math.fround(values[row * columns + column] * scale);
        assert.equal(around[4 + column * rows + row], expected);
        squares += expected ** 2;
      }
    }
    assert.ok(Math.abs(sum / squares - 1) < 1e-5, `${sum} for ${squares}`);
    for (const edge of [...around.subarray(0, 4), ...around.subarray(-4)]) assert.equal(edge, 7);
  });
}

test("the sum of squares sees every value", () => {
  for (const count of [16, 32, 992]) {
    for (let at = 0; at < count; at++) {
      const values = new Array<number>(count).fill(0);
      values[at] = -3;
      write(values);
      assert.equal(kernels.energy(FROM, count), 9);
      assert.equal(kernels.transpose(FROM, TO, count / 4, 4, 2), 36);
    }
  }
});

test("what is not finite stays so in the sum, and a value above a bound keeps the sum above its square", () => {
  const values = new Array<number>(64).fill(0.5);
  for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, 1e30]) {
    for (const at of [0, 17, 63]) {
      write(values.with(at, bad));
      assert.ok(!(kernels.energy(FROM, 64) <= 1e8));
      assert.ok(!(kernels.transpose(FROM, TO, 16, 4, 1) <= 1e8));
    }
  }
  write(values.with(3, 10_000.001));
  assert.ok(kernels.energy(FROM, 64) > 1e8);
});
