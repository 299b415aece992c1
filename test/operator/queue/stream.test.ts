import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import { pieceOf } from "./dictation.ts";
import { MortalRedis, Plant, until } from "./plant.ts";

const pieces = (jobId: `0x${string}`, from: number, to: number) =>
  Array.from({ length: to - from }, (_, i) => ({
    type: "piece" as const,
    at: from + i,
    text: pieceOf({ jobId }, from + i),
  }));

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
    assert.deepEqual(await plant.hear(jobId), [...pieces(jobId, 0, 40), { type: "completed" }]);
    const job = await plant.office.sequencer.job(jobId);
    const text = new TextDecoder().decode(job!.response);
    assert.equal(
      text,
      pieces(jobId, 0, 40)
        .map((piece) => piece.text)
        .join(""),
    );
    assert.equal(plant.receipts, 1);
    await until(async () => (await plant.queue.counts()).completed === 1);
  });
});
