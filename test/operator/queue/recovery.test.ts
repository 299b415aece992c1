import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import type { Hex } from "../../../operator/protocol/bytes.ts";
import { QueueUnavailable } from "../../../operator/queue/errors.ts";
import type { JobEvent, LostEvent } from "../../../operator/queue/job-events.ts";
import { refillQueue } from "../../../operator/queue/refill-queue.ts";
import { SequencerUnreachable } from "../../../operator/settlement/errors.ts";
import { serveSequencer } from "../../../operator/settlement/http/sequencer-server.ts";
import type { Sequencer } from "../../../operator/settlement/sequencer.ts";
import { piecesOf } from "./dictation.ts";
import { MortalRedis, Plant, until } from "./plant.ts";

describe("Whatever is killed", { timeout: 90_000 }, () => {
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

  const refill = () => refillQueue({ sequencer: plant.office.sequencer, queue: plant.queue, now: plant.now });
  const whole = (jobId: Hex, pieces: number) => [...piecesOf(jobId, 0, pieces), { type: "completed" }];
  /** Hears a job, and does something once as many pieces have come. */
  const hearAnd = async (jobId: Hex, count: number, act: () => unknown): Promise<JobEvent[]> => {
    const heard: JobEvent[] = [];
    for await (const event of plant.queue.events(jobId)) {
      if (event.type === "lost") continue;
      heard.push(event);
      if (heard.length === count) await act();
    }
    return heard;
  };

  test("a worker in the midst of an answer: another one goes on, and there is one receipt", async () => {
    const secret = "s".repeat(32);
    const server = await serveSequencer(plant.office.sequencer, { secret });
    const file = fileURLToPath(new URL("./serving-worker.ts", import.meta.url));
    const args = [file, redis.url, plant.prefix, server.url, secret, String(plant.now)];
    const child: ChildProcess = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
    await once(child.stdout!, "data");
    const jobId = await plant.ask({ pieces: 60, pause: 5 });
    const heard = await hearAnd(jobId, 20, () => {
      child.kill("SIGKILL");
      plant.work();
    });
    assert.deepEqual(heard, whole(jobId, 60));
    assert.equal(plant.receipts, 1);
    assert.equal((await plant.queue.inspect(jobId))!.stalls, 1);
    await server.close();
  });

  test("Redis in the midst of an answer: the answer goes on when it is back", async () => {
    plant.work();
    const jobId = await plant.ask({ pieces: 60, pause: 10 });
    const heard = await hearAnd(jobId, 20, async () => {
      await redis.kill();
      await redis.revive();
    });
    assert.deepEqual(heard, whole(jobId, 60));
    assert.equal(plant.receipts, 1);
    // The queue goes on, too.
    const next = await plant.ask({ pieces: 1 });
    assert.deepEqual(await plant.hear(next), whole(next, 1));
  });

  test("all that Redis has, in the midst of an answer: nothing is missing from it", async () => {
    plant.work();
    const jobId = await plant.ask({ pieces: 60, pause: 5 });
    let later: Promise<JobEvent[]> | undefined;
    const heard = await hearAnd(jobId, 20, async () => {
      await redis.flush();
      later = plant.hear(jobId);
    });
    assert.deepEqual(heard, whole(jobId, 60));
    // What was told before is there again, too.
    assert.deepEqual(await later, whole(jobId, 60));
    assert.equal(plant.receipts, 1);
  });

  test("all that Redis has, with jobs waiting: they come back from the journal, and listeners hear them", async () => {
    const jobs = await Promise.all(plant.channels.map((channel) => plant.ask({ pieces: 3 }, channel)));
    const hearing = jobs.map((jobId) => plant.hear(jobId));
    await redis.flush();
    assert.equal(await plant.queue.depth(), 0);
    assert.deepEqual(await refill(), { unfinished: jobs.length, added: jobs.length, expired: 0 });
    assert.deepEqual(await refill(), { unfinished: jobs.length, added: 0, expired: 0 });
    plant.work();
    for (const [i, heard] of (await Promise.all(hearing)).entries()) assert.deepEqual(heard, whole(jobs[i], 3));
    assert.equal(plant.receipts, jobs.length);
  });

  test("all that Redis has, after the end of a job: its listener is sent to the journal", async () => {
    plant.work();
    const jobId = await plant.ask({ pieces: 1 });
    await plant.hear(jobId);
    await redis.flush();
    for await (const event of plant.queue.events(jobId, { from: 1 })) {
      assert.deepEqual(event, { type: "lost" } satisfies LostEvent);
      assert.equal(await plant.state(jobId), "completed");
      break;
    }
  });

  test("the gateway between journal and queue: the job is found in the journal, but not at once", async () => {
    const jobId = await plant.admit({ pieces: 1 });
    const { sequencer } = plant.office;
    const patient = await refillQueue({ sequencer, queue: plant.queue, now: plant.now, grace: 5 });
    assert.deepEqual(patient, { unfinished: 1, added: 0, expired: 0 });
    const later = await refillQueue({ sequencer, queue: plant.queue, now: plant.now + 6, grace: 5 });
    assert.deepEqual(later, { unfinished: 1, added: 1, expired: 0 });
    plant.work();
    assert.deepEqual(await plant.hear(jobId), whole(jobId, 1));
  });

  test("two hours by the clock, after a job was put off: it is not put off for so long", async (t) => {
    t.mock.timers.enable({ apis: ["Date"], now: Date.now() + 7_200_000 });
    plant.work();
    const jobId = await plant.ask({ pieces: 1, trouble: "broken" });
    await until(async () => (await plant.queue.counts()).delayed === 1);
    const { attempts } = (await plant.queue.inspect(jobId))!;
    t.mock.timers.reset();
    assert.deepEqual(await refill(), { unfinished: 1, added: 1, expired: 0 });
    await until(async () => (await plant.queue.inspect(jobId))!.attempts > attempts);
    assert.deepEqual(
      await refill(),
      { unfinished: 1, added: 0, expired: 0 },
      "what waits as long as it should does so",
    );
  });

  test("two hours by the clock, after a job was admitted that Redis loses: it comes back at once", async () => {
    const jobId = await plant.ask({ pieces: 1 });
    await redis.flush();
    const { sequencer } = plant.office;
    const report = await refillQueue({ sequencer, queue: plant.queue, now: plant.now - 7_200, grace: 5 });
    assert.deepEqual(report, { unfinished: 1, added: 1, expired: 0 });
    plant.work();
    assert.deepEqual(await plant.hear(jobId), whole(jobId, 1));
  });

  test("the word that a client has left, on its way to the worker: it is found all the same", async () => {
    plant.work();
    const jobId = await plant.ask({ pieces: 100_000, pause: 10 });
    const client = redis.client();
    const heard = await hearAnd(jobId, 3, () => client.set(`${plant.prefix}:cancelled:${jobId}`, "1"));
    client.disconnect();
    assert.deepEqual(heard.at(-1), { type: "completed" });
  });

  test("the way to the sequencer while it charges: the answer is offered again, and charged once", async () => {
    const { sequencer } = plant.office;
    let calls = 0;
    const flaky: Sequencer = {
      admit: (paid) => sequencer.admit(paid),
      fail: (jobId, reason) => sequencer.fail(jobId, reason),
      job: (jobId) => sequencer.job(jobId),
      channel: (channel, since) => sequencer.channel(channel, since),
      unfinished: () => sequencer.unfinished(),
      complete: async (jobId, outcome) => {
        const receipt = await sequencer.complete(jobId, outcome);
        if (++calls < 3) throw new SequencerUnreachable("The answer was lost.");
        return receipt;
      },
    };
    plant.work({ sequencer: flaky });
    const jobId = await plant.ask({ pieces: 2 });
    assert.deepEqual(await plant.hear(jobId), whole(jobId, 2));
    assert.equal(calls, 3);
    assert.equal(plant.receipts, 1);
  });

  test("the sequencer before a job is begun: it is tried until it is back, however often", async () => {
    const { sequencer } = plant.office;
    let isAway = true;
    let calls = 0;
    const away = new Proxy(sequencer, {
      get: (target, key) => {
        if (key === "job" && isAway) {
          calls++;
          return async () => {
            throw new SequencerUnreachable("Away.");
          };
        }
        const value = Reflect.get(target, key);
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
    plant.work({ sequencer: away });
    const jobId = await plant.ask({ pieces: 2 });
    await until(() => calls >= 2);
    isAway = false;
    assert.deepEqual(await plant.hear(jobId), whole(jobId, 2));
    await until(async () => (await plant.queue.counts()).completed === 1);
    assert.equal((await plant.queue.inspect(jobId))!.attempts, 1);
  });

  test("a worker that drains finishes what it has and leaves the rest to others", async () => {
    const draining = plant.work({ concurrency: 1 });
    const [first, second] = [await plant.ask({ pieces: 20, pause: 10 }), await plant.ask({ pieces: 1 })];
    await until(() => draining.running === 1);
    await draining.close();
    assert.equal(await plant.state(first), "completed");
    assert.equal(await plant.state(second), "accepted");
    plant.work();
    assert.deepEqual(await plant.hear(second), whole(second, 1));
  });

  test("a worker that is closed by force: its job is not charged for half an answer", async () => {
    const closing = plant.work();
    const jobId = await plant.ask({ pieces: 40, pause: 5 });
    const heard = await hearAnd(jobId, 10, async () => {
      await closing.close({ force: true });
      plant.work();
    });
    assert.deepEqual(heard, whole(jobId, 40));
  });

  test("Redis, for good: asking is answered in time, and closing does not hang", async () => {
    const lonely = plant.open({ redis: "redis://127.0.0.1:1", addTimeout: 100 });
    const jobId = await plant.admit({ pieces: 1 });
    await assert.rejects(lonely.add({ jobId, channel: 1, agent: 1 }), QueueUnavailable);
    await assert.rejects(lonely.cancel(jobId), QueueUnavailable);
    await assert.rejects(lonely.counts(), QueueUnavailable);
    const worker = plant.work({ redis: "redis://127.0.0.1:1" });
    await worker.close();
  });

  test("a Redis that may evict or forget is complained about", async () => {
    const client = redis.client();
    await client.config("SET", "maxmemory-policy", "allkeys-lru");
    await client.config("SET", "appendonly", "no");
    const heard: string[] = [];
    plant.open({ warn: (message) => heard.push(message) });
    await until(() => heard.length === 2);
    assert.match(heard[0], /noeviction/);
    assert.match(heard[1], /appendonly/);
    await client.config("SET", "maxmemory-policy", "noeviction");
    await client.config("SET", "appendonly", "yes");
    // While it writes its first file, Redis does not let itself be stopped.
    await until(async () =>
      /aof_rewrite_in_progress:0\s+aof_rewrite_scheduled:0/.test(await client.info("persistence")),
    );
    client.disconnect();
  });
});
