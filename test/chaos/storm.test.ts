import assert from "node:assert/strict";
import { test } from "node:test";
import { ChaosWorld } from "./chaos-world.ts";
import { storm } from "./storm.ts";

// The long form: npm run test:chaos -- --kills 200
test("twelve kills of gateway, workers, settler and Redis lose nothing and charge nothing twice", {
  timeout: 500_000,
}, async () => {
  process.setMaxListeners(0);
  const world = await ChaosWorld.open();
  try {
    const { wrong, receipts, kills } = await storm(world, { kills: 12, seed: 7, minutes: 4 });
    assert.deepEqual(wrong, []);
    assert.ok(receipts > 0);
    assert.ok(Object.values(kills).reduce((sum, count) => sum + count, 0) > 0);
  } finally {
    await world.close();
  }
});
