import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { DataInf } from "../../../../operator/training/influence/data-inf.ts";
import { GradientSketch } from "../../../../operator/training/influence/sketch.ts";
import { ParameterLayout } from "../../../../operator/training/parameters.ts";
import { seeded } from "../../../../operator/training/random.ts";

const STARTS = [0, 5, 9];
const SIZES = [5, 4];

function draw(count: number, seed: number): Float32Array[] {
  const random = seeded(seed, "gradients");
  return Array.from({ length: count }, () => Float32Array.from({ length: 9 }, () => random.normal()));
}

const sourceOf = (gradients: readonly Float32Array[]) => ({
  count: gradients.length,
  forEach: (visit: (gradient: Float32Array, index: number) => void) => gradients.forEach(visit),
});

/** The closed form as the paper writes it: the inverse applied matrix by matrix as a mean of rank-one inverses. */
function dense(gradients: readonly Float32Array[], answer: Float32Array, k: number): number {
  let score = 0;
  for (const [l, size] of SIZES.entries()) {
    const block = (g: Float32Array): number[] => [...g.subarray(STARTS[l], STARTS[l + 1])];
    const times = (a: number[], b: number[]): number => a.reduce((sum, x, i) => sum + x * b[i], 0);
    const blocks = gradients.map(block);
    const v = block(answer);
    const lambda = (0.1 * blocks.reduce((sum, g) => sum + times(g, g), 0)) / (blocks.length * size);
    // H⁻¹ g_k with H⁻¹ ≈ mean over i of (λ I + g_i g_iᵀ)⁻¹, each by Sherman and Morrison.
    const solved = v.map(() => 0);
    for (const g of blocks) {
      const share = times(g, blocks[k]) / (lambda + times(g, g));
      for (let j = 0; j < size; j++) solved[j] += (blocks[k][j] - share * g[j]) / lambda / blocks.length;
    }
    score += times(v, solved);
  }
  return score;
}

describe("DataInf", () => {
  const gradients = draw(7, 1);
  const [answer] = draw(1, 2);
  const scores = new DataInf(sourceOf(gradients), STARTS, SIZES).score(answer);

  it("equals the published closed form computed densely", () => {
    for (let k = 0; k < gradients.length; k++) {
      const expected = dense(gradients, answer, k);
      assert.ok(Math.abs(scores.dataInf[k] - expected) <= 1e-9 * Math.abs(expected), `${k}: ${scores.dataInf[k]}`);
    }
  });

  it("gives plain product and cosine of the gradients beside it", () => {
    const product = gradients[3].reduce((sum, x, i) => sum + x * answer[i], 0);
    assert.ok(Math.abs(scores.product[3] - product) < 1e-6);
    const cosine = product / Math.hypot(...gradients[3]) / Math.hypot(...answer);
    assert.ok(Math.abs(scores.cosine[3] - cosine) < 1e-6);
  });

  it("is positive for a document that pulls where the answer wants to go, and negative for its opposite", () => {
    const helpful = answer.slice();
    const harmful = answer.map((x) => -x);
    const { dataInf } = new DataInf(sourceOf([...draw(5, 3), helpful, harmful]), STARTS, SIZES).score(answer);
    assert.ok(dataInf[5] > 0 && dataInf[6] < 0);
  });

  it("gives no say to a matrix that no document moved", () => {
    const still = draw(4, 4).map((gradient) => gradient.fill(0, 5));
    const { dataInf } = new DataInf(sourceOf(still), STARTS, SIZES).score(answer);
    assert.ok(dataInf.every(Number.isFinite));
  });
});

describe("GradientSketch", () => {
  const layout = new ParameterLayout([
    ["small", [4, 4]],
    ["large", [100, 50]],
  ]);
  const random = seeded(9, "gradients");
  const gradient = (): Float32Array => Float32Array.from({ length: layout.size }, () => random.normal());
  const times = (a: ArrayLike<number>, b: ArrayLike<number>, from: number, to: number): number => {
    let sum = 0;
    for (let i = from; i < to; i++) sum += a[i] * b[i];
    return sum;
  };

  it("keeps a matrix that is no larger than its block as it is", () => {
    const sketch = new GradientSketch(layout, 64, 1);
    const g = gradient();
    assert.deepEqual(sketch.starts, [0, 16, 80]);
    assert.deepEqual(sketch.of(g).subarray(0, 16), g.subarray(0, 16));
  });

  it("keeps products on average over seeds", () => {
    const a = gradient();
    // Half of b is a, so that the product is far from zero.
    const b = gradient().map((x, i) => x + a[i]);
    const exact = times(a, b, 16, layout.size);
    let mean = 0;
    for (let seed = 0; seed < 40; seed++) {
      const sketch = new GradientSketch(layout, 64, seed);
      mean += times(sketch.of(a), sketch.of(b), 16, sketch.size) / 40;
    }
    assert.ok(Math.abs(mean / exact - 1) < 0.1, `${mean} against ${exact}`);
  });

  it("depends on the seed and on nothing else", () => {
    const g = gradient();
    assert.deepEqual(new GradientSketch(layout, 64, 3).of(g), new GradientSketch(layout, 64, 3).of(g));
    assert.notDeepEqual(new GradientSketch(layout, 64, 3).of(g), new GradientSketch(layout, 64, 4).of(g));
  });
});
