import assert from "node:assert/strict";
import { test } from "node:test";
import { Queue, QueueEvents, Worker } from "bullmq";
import { startRedis } from "../../scripts/redis.ts";

test("a Redis is found or fetched, and carries a BullMQ job from queue to worker", async () => {
  const redis = await startRedis();
  try {
    const { hostname: host, port } = new URL(redis.url);
    const connection = { host, port: Number(port), maxRetriesPerRequest: null };
    const queue = new Queue("test", { connection });
    const events = new QueueEvents("test", { connection });
    const worker = new Worker("test", async (job) => job.data.left + job.data.right, { connection });
    await events.waitUntilReady();
    const job = await queue.add("sum", { left: 40, right: 2 });
    assert.equal(await job.waitUntilFinished(events, 10_000), 42);
    await Promise.all([worker.close(), events.close(), queue.close()]);
  } finally {
    await redis.stop();
  }
});

test("REDIS_URL is taken as it stands", async () => {
  const before = process.env.REDIS_URL;
  process.env.REDIS_URL = "redis://example.invalid:1";
  try {
    assert.equal((await startRedis()).url, "redis://example.invalid:1");
  } finally {
    if (before === undefined) delete process.env.REDIS_URL;
    else process.env.REDIS_URL = before;
  }
});
