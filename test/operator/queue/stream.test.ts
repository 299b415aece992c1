import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { QueueUnavailable } from "../../../operator/queue/errors.ts";
import type { JobEvent, LostEvent } from "../../../operator/queue/job-events.ts";
import { piecesOf } from "./dictation.ts";
import { MortalRedis, Plant, until } from "./plant.ts";

describe("A job from the queue to its receipt", { timeout: 60_000 }, () => {
  let redis: MortalRedis;
  let plant: Plant;
  before(async () => {
    redis = await MortalRedis.start();
  });
  after(() => redis.stop());
  beforeEach(() => {
    plant = new Plant(redis);
  });
  afterEach(() => plant.close());

  test("the pieces come in order, then the end, and the journal has the answer and its receipt", async () => {
    plant.work();
    const jobId = await plant.ask({ pieces: 40, pause: 1 });
    assert.deepEqual(await plant.hear(jobId), [...piecesOf(jobId, 0, 40), { type: "completed" }]);
    const job = await plant.office.sequencer.job(jobId);
    const text = new TextDecoder().decode(job!.response);
    const heard = piecesOf(jobId, 0, 40).map((piece) => piece.text);
    assert.equal(text, heard.join(""));
    assert.equal(plant.receipts, 1);
    await until(async () => (await plant.queue.counts()).completed === 1);
  });

  test("what is told to be completed is in the journal", async () => {
    plant.work();
    const jobId = await plant.ask({ pieces: 1 });
    for await (const event of plant.queue.events(jobId)) {
      if (event.type === "completed") assert.equal(await plant.state(jobId), "completed");
    }
  });

  test("whoever comes late gets all pieces, or those from the one it names, and several may listen", async () => {
    plant.work();
    const jobId = await plant.ask({ pieces: 20, pause: 2 });
    const first = plant.hear(jobId);
    await until(async () => (await plant.state(jobId)) === "completed");
    assert.deepEqual(await first, [...piecesOf(jobId, 0, 20), { type: "completed" }]);
    assert.deepEqual(await plant.hear(jobId), [...piecesOf(jobId, 0, 20), { type: "completed" }]);
    assert.deepEqual(await plant.hear(jobId, 17), [...piecesOf(jobId, 17, 20), { type: "completed" }]);
  });

  test("a listener that takes its time gets every piece once", async () => {
    plant.work();
    const jobId = await plant.ask({ pieces: 6_000 });
    const heard: JobEvent[] = [];
    for await (const event of plant.queue.events(jobId)) {
      if (heard.length === 0) await until(async () => (await plant.state(jobId)) === "completed");
      if (heard.length % 1_000 === 0) await sleep(20);
      heard.push(event as Exclude<typeof event, LostEvent>);
    }
    assert.deepEqual(heard, [...piecesOf(jobId, 0, 6_000), { type: "completed" }]);
  });

  test("a listener whose signal fires hears no more, and nothing is wrong", async () => {
    const jobId = await plant.ask({ pieces: 1 });
    const leaving = new AbortController();
    setTimeout(() => leaving.abort(), 50);
    for await (const event of plant.queue.events(jobId, { signal: leaving.signal })) assert.fail(event.type);
  });

  test("a queue that is closed says so to its listeners", async () => {
    const queue = plant.open();
    const jobId = await plant.ask({ pieces: 1 });
    setTimeout(() => void queue.close(), 50);
    const listening = async () => {
      for await (const event of queue.events(jobId)) assert.fail(event.type);
    };
    await assert.rejects(listening(), QueueUnavailable);
  });

  test("many jobs are heard over one connection", async () => {
    const client = redis.client();
    const connections = async () =>
      String(await client.client("LIST"))
        .trim()
        .split("\n").length;
    const jobs = await Promise.all(plant.channels.map((channel) => plant.ask({ pieces: 2 }, channel)));
    const before = await connections();
    const hearing = jobs.map((jobId) => plant.hear(jobId));
    await sleep(50);
    assert.equal(await connections(), before);
    plant.work();
    for (const heard of await Promise.all(hearing)) assert.equal(heard.length, 3);
    client.disconnect();
  });

  test("five hundred jobs at once have one receipt each", async () => {
    for (let i = 0; i < 3; i++) plant.work({ concurrency: 50 });
    const jobs: `0x${string}`[] = [];
    for (let i = 0; i < 500; i++) jobs.push(await plant.admit({ pieces: 3, pause: 1 }, plant.channels[i % 6]));
    const hearing = jobs.map((jobId) => plant.hear(jobId));
    await Promise.all(jobs.map((jobId, i) => plant.queue.add({ jobId, channel: plant.channels[i % 6], agent: 1 })));
    for (const [i, heard] of (await Promise.all(hearing)).entries()) {
      assert.deepEqual(heard, [...piecesOf(jobs[i], 0, 3), { type: "completed" }]);
    }
    assert.equal(plant.receipts, 500);
    for await (const { jobId } of plant.office.sequencer.unfinished()) assert.fail(jobId);
  });
});
