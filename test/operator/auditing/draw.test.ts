import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { draw } from "../../../operator/auditing/draw.ts";
import { drawQuestion } from "../../../operator/auditing/draw-question.ts";

describe("a draw", () => {
  it("takes none twice, never more than there are, and each as often as the others", () => {
    const from = [0, 1, 2, 3, 4];
    assert.deepEqual(draw(from, 9).sort(), from);
    assert.deepEqual(draw([], 3), []);
    const times = from.map(() => 0);
    for (let i = 0; i < 5_000; i++) for (const one of draw(from, 2)) times[one]++;
    // 2,000 each in the mean, with a deviation of 35: seven of them.
    for (const count of times) assert.ok(Math.abs(count - 2_000) < 245, times.join());
    assert.deepEqual(from, [0, 1, 2, 3, 4], "what is drawn from stays as it was");
  });
});

describe("a question that is bought", () => {
  const headings = ["Harbours", "Velmor harbour"];
  const text = "- The depth of Velmor harbour is 14 metres. It was dug in 1871!\n\nYes.";

  it("repeats words of its passage, and is seldom the same", () => {
    const drawn = Array.from({ length: 200 }, () => drawQuestion({ headings, text })!);
    for (const question of drawn) {
      assert.ok(/Velmor harbour|The depth of|It was dug/.test(question), question);
      assert.ok(!/^[-#\s]|Yes\./.test(question), question);
    }
    assert.ok(new Set(drawn).size > 30, `only ${new Set(drawn).size} in 200`);
  });

  it("is not asked of a passage without words", () => {
    assert.equal(drawQuestion({ headings: [], text: "14 m.\n\nYes." }), undefined);
  });
});
