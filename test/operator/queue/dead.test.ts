import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import { refillQueue } from "../../../operator/queue/refill-queue.ts";
import { SequencerUnreachable } from "../../../operator/settlement/errors.ts";
import { piecesOf, serveDictation } from "./dictation.ts";
import { MortalRedis, Plant, until } from "./plant.ts";

describe("A job that cannot be answered", { timeout: 60_000 }, () => {
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

  const refill = (now = plant.now) => refillQueue({ sequencer: plant.office.sequencer, queue: plant.queue, now });
  const INTERNAL = { type: "failed", code: "internal", message: "The operator could not serve the job." };
  /** The sequencer, but for giving up, which it cannot be reached for as long as told. */
  const deafTo = (isAway: () => boolean) =>
    new Proxy(plant.office.sequencer, {
      get: (target, key) => {
        if (key === "fail" && isAway()) return () => Promise.reject(new SequencerUnreachable("Away."));
        const value = Reflect.get(target, key);
        return typeof value === "function" ? value.bind(target) : value;
      },
    });

  test("by anybody is given up at once, without a charge, and says why", async () => {
    plant.work();
    const jobId = await plant.ask({ pieces: 1, trouble: "refused" });
    const failed = { type: "failed", code: "promptTooLong", message: "The prompt is too long." };
    assert.deepEqual(await plant.hear(jobId), [failed]);
    assert.equal((await plant.office.sequencer.job(jobId))!.reason, "promptTooLong: The prompt is too long.");
    await until(async () => (await plant.queue.counts()).completed === 1);
    assert.deepEqual(await plant.queue.failed(), []);
    assert.equal(plant.receipts, 0);
  });

  test("now is tried again, and answered when it can be", async () => {
    let troubles = 2;
    plant.work({
      serve: (...given) => (troubles-- > 0 ? Promise.reject(new Error("a flood")) : serveDictation(...given)),
    });
    const jobId = await plant.ask({ pieces: 2 });
    assert.deepEqual(await plant.hear(jobId), [...piecesOf(jobId, 0, 2), { type: "completed" }]);
    assert.equal(plant.warnings.length, 2);
  });

  test("in five attempts is given up, without a charge, and kept for those who look", async () => {
    plant.work();
    const jobId = await plant.ask({ pieces: 1, trouble: "broken" });
    assert.deepEqual(await plant.hear(jobId), [INTERNAL]);
    assert.equal(await plant.state(jobId), "failed");
    const [dead, ...others] = await plant.queue.failed();
    assert.deepEqual(others, []);
    assert.deepEqual(
      { jobId: dead.jobId, attempts: dead.attempts, reason: dead.reason },
      { jobId, attempts: 5, reason: "a disk on fire" },
    );
    // Trying once more changes nothing: its payer was told, and may have used the nonce again.
    assert.equal(await plant.queue.retry("all"), 1);
    await until(async () => (await plant.queue.counts()).completed === 1);
    assert.deepEqual(await plant.queue.failed(), []);
    assert.equal(await plant.state(jobId), "failed");
  });

  test("and not given up either, since the sequencer is away, can be tried again", async () => {
    let isBroken = true;
    const sequencer = deafTo(() => isBroken);
    const work: typeof serveDictation = (...given) =>
      isBroken ? Promise.reject(new Error("a storm")) : serveDictation(...given);
    plant.work({ sequencer, serve: work });
    const [jobId, another] = [await plant.ask({ pieces: 1 }), await plant.ask({ pieces: 1 })];
    await until(() => plant.warnings.filter((warning) => /could not be given up/.test(warning)).length === 2);
    assert.equal(await plant.state(jobId), "accepted");
    assert.equal((await plant.queue.failed()).length, 2);
    isBroken = false;
    assert.equal(await plant.queue.retry(jobId), 1);
    assert.deepEqual(await plant.hear(jobId), [...piecesOf(jobId, 0, 1), { type: "completed" }]);
    // The journal brings the other one back by itself.
    assert.equal((await refill()).added, 1);
    assert.deepEqual(await plant.hear(another), [...piecesOf(another, 0, 1), { type: "completed" }]);
    assert.equal(plant.receipts, 2);
  });

  test("before its voucher runs out is failed by whoever finds it: a worker", async () => {
    const jobId = await plant.ask({ pieces: 1 });
    plant.work({ clock: () => plant.now + 3_000 });
    const [event] = await plant.hear(jobId);
    assert.equal(event.type === "failed" && event.code, "expired");
    assert.equal(await plant.state(jobId), "failed");
  });

  test("before its voucher runs out is failed by whoever finds it: the journal", async () => {
    const jobs = [await plant.ask({ pieces: 1 }), await plant.admit({ pieces: 1 })];
    assert.deepEqual(await refill(plant.now + 3_000), { unfinished: 2, added: 0, expired: 2 });
    for (const jobId of jobs) {
      const [event] = await plant.hear(jobId);
      assert.equal(event.type === "failed" && event.code, "expired");
    }
    assert.equal(await plant.queue.depth(), 0);
  });

  test("in time is left to the worker that has it", async () => {
    plant.work();
    const jobId = await plant.ask({ pieces: 30, pause: 10 });
    await until(async () => (await plant.queue.counts()).active === 1);
    assert.deepEqual(await refill(plant.now + 3_000), { unfinished: 1, added: 0, expired: 0 });
    assert.equal((await plant.hear(jobId)).length, 31);
  });
});
