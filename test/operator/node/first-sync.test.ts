import assert from "node:assert/strict";
import { test } from "node:test";
import { ChainMoved } from "../../../operator/chain/mirror/sync.ts";
import { firstSync } from "../../../operator/node/first-sync.ts";

const { signal } = new AbortController();

/** A mirror whose chain moves while it is read, some times. */
function moving(times: number, error: () => Error = () => new ChainMoved(7)) {
  const mirror = {
    readings: 0,
    sync: async () => {
      if (mirror.readings++ < times) throw error();
      return true;
    },
  };
  return mirror;
}

test("a node that is started in a re-org reads the chain again and says so", async () => {
  const said: string[] = [];
  const mirror = moving(2);
  await firstSync(mirror, { signal, say: (line) => said.push(line), pause: 1 });
  assert.equal(mirror.readings, 3);
  assert.deepEqual(
    said.map((line) => /changed around block 7/.test(line)),
    [true, true],
  );
});

test("a chain that never stands still ends the start, and so does at once what no reading mends", async () => {
  const say = () => {};
  const mirror = moving(100);
  await assert.rejects(firstSync(mirror, { signal, say, pause: 1 }), { name: "ChainMoved" });
  assert.equal(mirror.readings, 5);
  const broken = moving(1, () => new Error("No room for mirror.sqlite."));
  await assert.rejects(firstSync(broken, { signal, say, pause: 1 }), /No room/);
  assert.equal(broken.readings, 1);
});
