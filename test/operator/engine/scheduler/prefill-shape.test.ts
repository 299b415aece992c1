import assert from "node:assert/strict";
import { test } from "node:test";
import { PrefillShape } from "../../../../operator/engine/scheduler/prefill-shape.ts";

const row = (count: number, past = 0, slot?: number) => ({
  adapters: slot === undefined ? [] : [{ slot, weight: 1 }],
  count,
  past,
});

/** How many of the rows, one after the other, go into one step. */
function together(...rows: ReturnType<typeof row>[]): number {
  const shape = new PrefillShape();
  return rows.filter((one) => shape.accepts(one)).length;
}

test("short inputs and inputs of one length share a step", () => {
  assert.equal(together(row(20), row(60), row(35), row(44)), 4);
  assert.equal(together(row(128, 400), row(128, 430)), 2);
});

test("an input that would pad the others by more than a step of its own takes waits for the next step", () => {
  assert.equal(together(row(52, 512), row(204, 283)), 1);
  assert.equal(together(row(128, 64), row(20, 1_800)), 1);
});

test("after an input that does not fit, one that does is still taken", () => {
  const shape = new PrefillShape();
  const accepted = [row(128, 400), row(20, 2_000), row(120, 390)].map((one) => shape.accepts(one));
  assert.deepEqual(accepted, [true, false, true]);
});

test("the first input always has its step, however long it is", () => {
  assert.equal(together(row(256, 100_000, 31)), 1);
});

test("inputs whose adapters lie far apart are computed apart", () => {
  assert.equal(together(row(20, 0, 0), row(20, 0, 1)), 2);
  assert.equal(together(row(20, 0, 0), row(20, 0, 9)), 1);
});
