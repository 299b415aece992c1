import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { lasso } from "../../../operator/attribution/lasso.ts";

describe("Lasso", () => {
  test("without a penalty it finds the weights of a linear function", () => {
    const rows = Array.from({ length: 32 }, (_, i) => [i & 1, (i >> 1) & 1, (i >> 2) & 1, (i >> 3) & 1, (i >> 4) & 1]);
    const y = rows.map(([a, b, , d]) => 3 + 2 * a - 5 * b + 0.25 * d);
    lasso(rows, y, 0).forEach((weight, j) => {
      assert.ok(Math.abs(weight - [2, -5, 0, 0.25, 0][j]) < 1e-6);
    });
  });

  test("a feature that never varies weighs nothing", () => {
    assert.deepEqual(
      lasso(
        [
          [1, 0],
          [1, 1],
        ],
        [1, 3],
        0,
      )[0],
      0,
    );
  });

  test("its answers meet the conditions that only the minimum meets", () => {
    const problem = fc.integer({ min: 1, max: 8 }).chain((width) =>
      fc.record({
        rows: fc.array(fc.array(fc.integer({ min: 0, max: 1 }), { minLength: width, maxLength: width }), {
          minLength: 6,
          maxLength: 40,
        }),
        values: fc.array(fc.double({ min: -10, max: 10, noNaN: true }), { minLength: 40, maxLength: 40 }),
        alpha: fc.double({ min: 0.01, max: 2, noNaN: true }),
      }),
    );
    const nearlyDependent = {
      rows: ["01011010", "00000100", "01010100", "01110100", "01001110", "10010000", "01010010"].map((row) =>
        [...row].map(Number),
      ),
      values: [5.592889016760776, 0, 0, 0, -9.999999999999883, ...new Array<number>(35).fill(0)],
      alpha: 0.01,
    };
    fc.assert(
      fc.property(problem, ({ rows, values, alpha }) => {
        const n = rows.length;
        const y = values.slice(0, n);
        const weights = lasso(rows, y, alpha);
        const mean = (list: readonly number[]) => list.reduce((sum, value) => sum + value, 0) / n;
        const residual = rows.map((row, i) => y[i] - row.reduce((sum, x, j) => sum + x * weights[j], 0));
        const centred = residual.map((value) => value - mean(residual));
        for (const [j, weight] of weights.entries()) {
          const column = rows.map((row) => row[j]);
          const middle = mean(column);
          const scale = Math.sqrt(mean(column.map((x) => (x - middle) ** 2)));
          if (scale === 0) {
            assert.equal(weight, 0);
            continue;
          }
          const slope = mean(column.map((x, i) => ((x - middle) / scale) * centred[i]));
          if (weight === 0) assert.ok(Math.abs(slope) <= alpha + 1e-5, `${slope} ${alpha}`);
          else assert.ok(Math.abs(slope - Math.sign(weight) * alpha) < 1e-5, `${slope} ${alpha} ${weight}`);
        }
      }),
      { numRuns: 300, examples: [[nearlyDependent]] },
    );
  });
});
