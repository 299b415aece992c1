import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { RoundLoop } from "../../../operator/settlement/round-loop.ts";

describe("a loop of rounds", () => {
  it("goes on after rounds that fail, and says how it goes", async () => {
    let rounds = 0;
    const done = Promise.withResolvers<void>();
    const failures: number[] = [];
    const round = async () => {
      rounds++;
      if (rounds <= 2) throw new Error(`no chain ${rounds}`);
      if (rounds === 4) done.resolve();
    };
    const loop = new RoundLoop({ round, interval: 1, onError: (_, count) => failures.push(count) });
    loop.start();
    loop.start();
    await done.promise;
    await loop.stop();
    const { isRunning, lastSuccess, ...rest } = loop.health();
    assert.deepEqual(rest, { lastError: undefined, failures: 0, alarm: false });
    assert.deepEqual([isRunning, typeof lastSuccess, failures], [false, "number", [1, 2]]);
  });

  it("waits for the round in hand when it is stopped, and begins no other", async () => {
    let [began, ended] = [0, 0];
    const release = Promise.withResolvers<void>();
    const loop = new RoundLoop({
      interval: 1,
      round: async () => {
        began++;
        await release.promise;
        ended++;
      },
    });
    loop.start();
    const stopped = loop.stop();
    assert.deepEqual([began, ended], [1, 0]);
    release.resolve();
    await stopped;
    assert.deepEqual([began, ended], [1, 1]);
  });

  it("gives the alarm for a round that never ends", async () => {
    const never = Promise.withResolvers<void>();
    const loop = new RoundLoop({ interval: 1, alarmAfter: 5, round: () => never.promise });
    loop.start();
    assert.equal(loop.health().alarm, false);
    while (!loop.health().alarm) await sleep(2);
    never.resolve();
    await loop.stop();
  });
});
