import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import type { Hex } from "../../../operator/protocol/bytes.ts";
import { QueueLimitReached } from "../../../operator/queue/errors.ts";
import { serveDictation } from "./dictation.ts";
import { MortalRedis, Plant, until } from "./plant.ts";

describe("Payers", { timeout: 60_000 }, () => {
  let redis: MortalRedis;
  let plant: Plant;
  before(async () => {
    redis = await MortalRedis.start();
  });
  after(() => redis.stop());
  afterEach(() => plant.close());

  const isLimit = (error: unknown) => {
    if (error instanceof QueueLimitReached) return false;
    throw error;
  };
  const refusal = (code: string) => (error: unknown) => {
    assert.ok(error instanceof QueueLimitReached);
    assert.equal(error.code, code);
    assert.ok(error.retryAfter > 0);
    return true;
  };

  test("with one job are served before the second one of whoever has fifty", async () => {
    plant = new Plant(redis);
    const [many, one] = plant.channels;
    for (let i = 0; i < 50; i++) await plant.ask({ pieces: 1 }, many);
    await plant.ask({ pieces: 1 }, one);
    const served: string[] = [];
    plant.work({
      concurrency: 1,
      serve: (asked, ...rest) => {
        served.push(asked.payer);
        return serveDictation(asked, ...rest);
      },
    });
    await until(() => served.length === 51);
    assert.ok(served.indexOf(String(one)) <= 1, served.slice(0, 5).join());
  });

  test("with several jobs are not passed over for ever by new jobs of others", async () => {
    plant = new Plant(redis);
    const [patient, ...others] = plant.channels;
    const waiting: Hex[] = [];
    for (let i = 0; i < 5; i++) waiting.push(await plant.ask({ pieces: 1 }, patient));
    let ofOthers = 0;
    const left = new Set(waiting);
    const done = Promise.withResolvers<void>();
    for (const channel of others) await plant.ask({ pieces: 1 }, channel);
    plant.work({
      concurrency: 1,
      serve: async (asked, ...rest) => {
        left.delete(asked.jobId);
        // Whoever of the others is served asks again at once: there is always a first job of each.
        if (asked.payer !== String(patient)) ofOthers++;
        if (left.size === 0 || ofOthers > 100) done.resolve();
        else if (asked.payer !== String(patient)) await plant.ask({ pieces: 1 }, Number(asked.payer));
        return serveDictation(asked, ...rest);
      },
    });
    await done.promise;
    assert.equal(left.size, 0);
    assert.ok(ofOthers <= 5 * others.length);
  });

  test("who were served much before are as good as new ones", async () => {
    plant = new Plant(redis);
    const [regular, fresh] = plant.channels;
    const served: string[] = [];
    const worker = plant.work({ concurrency: 1 });
    for (let i = 0; i < 20; i++) await plant.hear(await plant.ask({ pieces: 1 }, regular));
    await worker.close();
    for (const channel of [fresh, fresh, fresh, regular]) await plant.ask({ pieces: 1 }, channel);
    plant.work({
      concurrency: 1,
      serve: (asked, ...rest) => {
        served.push(asked.payer);
        return serveDictation(asked, ...rest);
      },
    });
    await until(() => served.length === 4);
    assert.ok(served.indexOf(String(regular)) <= 1, served.join());
  });

  test("have only so many jobs in flight, until one has ended", async () => {
    plant = new Plant(redis, { limits: { jobsInFlight: 2 } });
    const [payer, other] = plant.channels;
    const jobs = [await plant.ask({ pieces: 1 }, payer), await plant.ask({ pieces: 1 }, payer)];
    const third = { jobId: await plant.admit({ pieces: 1 }, payer), channel: payer, agent: 1 };
    await assert.rejects(plant.queue.checkLimits(payer), refusal("jobsInFlight"));
    await assert.rejects(plant.queue.add(third), refusal("jobsInFlight"));
    // Those that are in the queue may be named again, and others are not concerned.
    await plant.queue.add({ jobId: jobs[0], channel: payer, agent: 1 });
    await plant.queue.checkLimits(other);
    plant.work();
    await Promise.all(jobs.map((jobId) => plant.hear(jobId)));
    await until(() => plant.queue.add(third).then(() => true, isLimit));
    await plant.hear(third.jobId);
  });

  test("ask only so often, and are told when to come again", async () => {
    plant = new Plant(redis, { limits: { requestsPerSecond: 0.001, burst: 3 } });
    const [payer, other] = plant.channels;
    // Looking is free.
    for (let i = 0; i < 10; i++) await plant.queue.checkLimits(payer);
    for (let i = 0; i < 3; i++) await plant.ask({ pieces: 1 }, payer);
    await assert.rejects(plant.queue.checkLimits(payer), refusal("requestRate"));
    await assert.rejects(plant.ask({ pieces: 1 }, payer), refusal("requestRate"));
    await plant.ask({ pieces: 1 }, other);
    const refused = (await plant.queue.metrics()).find(({ name }) => name === "openledger_queue_refused_total")!;
    assert.equal(refused.samples.find(({ labels }) => labels.reason === "requestRate")!.value, 2);
  });

  test("are counted by keys that all run out, so that nothing stays of a process that was killed", async () => {
    plant = new Plant(redis);
    await plant.ask({ pieces: 1 });
    const client = redis.client();
    const keys = (await client.keys(`${plant.prefix}:*`)).filter((key) => !key.startsWith(`${plant.prefix}:jobs`));
    const lasting: string[] = [];
    for (const key of keys) if ((await client.pttl(key)) < 0) lasting.push(key.slice(plant.prefix.length));
    const forgottenAt = await client.zrange(`${plant.prefix}:waiting`, "0", "-1", "WITHSCORES");
    client.disconnect();
    // One set for all: its members run out instead.
    assert.deepEqual(lasting, [":waiting"]);
    assert.ok(Number(forgottenAt[1]) > Date.now());
  });
});
