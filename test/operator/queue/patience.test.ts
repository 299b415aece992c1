import assert from "node:assert/strict";
import { test } from "node:test";
import { QueueUnavailable } from "../../../operator/queue/errors.ts";
import { MortalRedis, Plant, until } from "./plant.ts";

test("A process that was itself held up does not take its own pause for that of Redis", async () => {
  const redis = await MortalRedis.start();
  const plant = new Plant(redis);
  const queue = plant.open({ addTimeout: 400 });
  await until(async () => (await queue.depth().catch(() => undefined)) === 0);
  for (let i = 0; i < 5; i++) {
    const asked = queue.checkLimits(plant.channels[0]);
    // A slow disk or another process: nothing is read meanwhile, and all timers are late.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 600);
    await asked;
  }
  await redis.kill();
  await assert.rejects(queue.checkLimits(plant.channels[0]), QueueUnavailable);
  await redis.revive();
  await plant.close();
  await redis.stop();
});

test("A job sent again after its end takes none of its payer's places", async () => {
  const redis = await MortalRedis.start();
  const plant = new Plant(redis);
  const [channel] = plant.channels;
  plant.work();
  const jobId = await plant.ask({ pieces: 1 }, channel);
  await until(async () => (await plant.queue.counts()).completed === 1);
  const queue = plant.open({ limits: { jobsInFlight: 1 } });
  await queue.add({ jobId, channel, agent: 1 });
  await queue.checkLimits(channel);
  await plant.close();
  await redis.stop();
});
