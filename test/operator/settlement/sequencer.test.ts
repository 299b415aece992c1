import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { describe, it } from "node:test";
import { toHex } from "../../../operator/protocol/bytes.ts";
import { openData, replayBatch } from "../../../operator/protocol/replay.ts";
import { emptyState, summarise } from "../../../operator/protocol/state.ts";
import { AdmissionError, JobError } from "../../../operator/settlement/errors.ts";
import { resigned } from "../protocol/jobs.ts";
import { contextOf } from "../protocol/world.ts";
import { type AskedJob, customersOf, Office, rootOf, settleLedger } from "./office.ts";

const refused = (code: string) => (error: unknown) => error instanceof AdmissionError && error.code === code;
const jobError = (code: string) => (error: unknown) => error instanceof JobError && error.code === code;

function officeFor(t: { after: (end: () => void) => void }, seed: number, options = {}): Office {
  const office = new Office(customersOf(seed), options);
  t.after(() => office.close());
  return office;
}

/** Serves jobs, some of them failing, with a few always in flight. */
async function serve(office: Office, count: number): Promise<AskedJob[]> {
  const { customers } = office;
  const inFlight: { id: `0x${string}`; asked: AskedJob }[] = [];
  for (let i = 0; i < count; i++) {
    const asked = customers.ask();
    inFlight.push({ asked, id: (await office.sequencer.admit(asked.paid)).jobId });
    if (inFlight.length < 5) continue;
    const [done] = inFlight.splice(customers.world.dice.below(inFlight.length), 1);
    if (customers.world.dice.chance(0.2)) {
      await office.sequencer.fail(done.id, "the model is ill");
      settleLedger(customers, done.asked, undefined);
    } else {
      const { price } = await office.sequencer.complete(done.id, done.asked.outcome);
      settleLedger(customers, done.asked, price);
    }
  }
  return inFlight.map(({ asked }) => asked);
}

describe("the sequencer", () => {
  it("admits a voucher once, however often and at once it is sent", async (t) => {
    const { sequencer, customers } = officeFor(t, 1);
    const { paid, outcome } = customers.ask();
    const answers = await Promise.all([1, 2, 3, 4].map(() => sequencer.admit(paid)));
    assert.deepEqual(
      answers.map(({ status }) => status),
      ["admitted", "known", "known", "known"],
    );
    const { channel, maxPrice } = paid.voucher;
    assert.equal((await sequencer.channel(channel)).reserved, maxPrice);
    await sequencer.complete(answers[0].jobId, outcome);
    assert.deepEqual(await sequencer.admit(paid), { status: "known", jobId: answers[0].jobId, state: "completed" });
  });

  it("charges a job once, however often it is completed", async (t) => {
    const { sequencer, customers, journal } = officeFor(t, 2);
    const { paid, outcome } = customers.ask();
    const { jobId } = await sequencer.admit(paid);
    const [first, second] = await Promise.all([sequencer.complete(jobId, outcome), sequencer.complete(jobId, outcome)]);
    assert.deepEqual(second, first);
    const { charged, reserved, receipts } = await sequencer.channel(paid.voucher.channel);
    assert.deepEqual([charged, reserved, receipts.length], [first.price, 0n, 1]);
    assert.equal(journal.lastPosition(), 1);
  });

  it("charges nothing for a job that failed, and lets its nonce be used again", async (t) => {
    const { sequencer, customers } = officeFor(t, 3);
    const { world } = customers;
    const asked = customers.ask();
    const { voucher } = asked.paid;
    const { jobId } = await sequencer.admit(asked.paid);
    await sequencer.fail(jobId, "the model is ill");
    await sequencer.fail(jobId, "and again");
    const statement = await sequencer.channel(voucher.channel);
    assert.deepEqual([statement.charged, statement.reserved], [0n, 0n]);
    assert.equal((await sequencer.job(jobId))?.reason, "the model is ill");
    await assert.rejects(sequencer.complete(jobId, asked.outcome), jobError("jobFailed"));
    const again = { ...voucher, expiry: voucher.expiry - 1n };
    const signature = toHex(resigned(world, again).signature);
    assert.equal((await sequencer.admit({ ...asked.paid, voucher: again, signature })).status, "admitted");
  });

  it("refuses vouchers that are forged, for something else, too late or not covered", async (t) => {
    const { sequencer, customers } = officeFor(t, 4);
    const { world, registry } = customers;
    const { paid } = customers.ask(world.channels[0], world.agents[0]);
    const changed = (change: Partial<typeof paid.voucher>) => {
      const voucher = { ...paid.voucher, ...change };
      return sequencer.admit({ ...paid, voucher, signature: toHex(resigned(world, voucher).signature) });
    };
    const { maxPrice, nonce } = paid.voucher;
    await assert.rejects(sequencer.admit({ ...paid, request: new Uint8Array(9) }), refused("requestMismatch"));
    await assert.rejects(
      sequencer.admit({ ...paid, voucher: { ...paid.voucher, nonce: 7n } }),
      refused("badSignature"),
    );
    await assert.rejects(sequencer.admit({ ...paid, signature: "0x12" }), refused("badSignature"));
    await assert.rejects(sequencer.admit({ ...paid, salt: "0x12" }), refused("malformedVoucher"));
    await assert.rejects(changed({ channel: world.foreignChannel }), refused("unknownChannel"));
    await assert.rejects(changed({ version: 99 }), refused("unknownAgentVersion"));
    await assert.rejects(changed({ expiry: BigInt(world.now - 1) }), refused("expired"));
    await assert.rejects(changed({ expiry: BigInt(world.now + world.windows.voucherLife) }), refused("expiryTooFar"));
    const { deposit } = registry.channel(world.channels[0])!;
    await assert.rejects(changed({ cap: deposit + 1n }), refused("capAboveDeposit"));
    registry.thawing.set(world.channels[0], deposit - maxPrice + 1n);
    await assert.rejects(changed({ cap: maxPrice }), refused("capAboveDeposit"));
    registry.thawing.clear();
    await assert.rejects(
      changed({ cap: maxPrice - 1n }),
      (error: AdmissionError) => refused("capTooLow")(error) && error.details.requiredCap === String(maxPrice),
    );
    assert.equal((await sequencer.channel(world.channels[0])).reserved, 0n);
    assert.equal((await sequencer.admit(paid)).status, "admitted");
    await assert.rejects(
      changed({ requestHash: paid.voucher.requestHash, expiry: paid.voucher.expiry - 1n }),
      (error) => refused("nonceUsed")(error),
    );
    assert.equal(nonce, 1n);
  });

  it("writes no receipt that would be a lie, and leaves the job in flight", async (t) => {
    const { sequencer, customers } = officeFor(t, 5);
    const { world } = customers;
    const { paid, outcome } = customers.ask(world.channels[0], world.agents[0]);
    const { jobId } = await sequencer.admit(paid);
    const before = rootOf(sequencer);
    const foreign = { ...outcome, context: [{ id: world.corners.pending, ppm: 1_000_000, via: 0 }] };
    await assert.rejects(
      sequencer.complete(jobId, foreign),
      (error: JobError) => jobError("receiptRefused")(error) && error.details.verdict === "attributionNotAccepted",
    );
    const many = Array.from({ length: 13 }, (_, i) => ({ id: i + 1, ppm: 1, via: 0 }));
    await assert.rejects(sequencer.complete(jobId, { ...outcome, context: many }), jobError("receiptRefused"));
    await assert.rejects(sequencer.complete(jobId, { ...outcome, trace: outcome.response }), jobError("hashMismatch"));
    await assert.rejects(sequencer.complete(jobId, { ...outcome, response: outcome.trace }), jobError("hashMismatch"));
    assert.equal(rootOf(sequencer), before);
    assert.equal((await sequencer.job(jobId))?.state, "accepted");
    await sequencer.complete(jobId, outcome);
    await assert.rejects(sequencer.fail(jobId, "too late"), jobError("jobCompleted"));
    await assert.rejects(sequencer.fail(toHex(new Uint8Array(32)), "who?"), jobError("unknownJob"));
  });

  it("refuses a receipt whose voucher could run out before its batch is posted", async (t) => {
    const { sequencer, customers } = officeFor(t, 6, { sequencer: { postingDelay: 600 } });
    const { world } = customers;
    const { paid, outcome } = customers.ask();
    const { jobId } = await sequencer.admit(paid);
    const { now } = world;
    world.now = Number(paid.voucher.expiry) + world.windows.posting - 598;
    await assert.rejects(sequencer.complete(jobId, outcome), /voucherExpired/);
    world.now -= 1;
    await sequencer.complete(jobId, outcome);
    world.now = now;
  });

  it("does the same after a restart as if it had gone on", async (t) => {
    const office = officeFor(t, 7, { sequencer: { maxReceipts: 8 } });
    const waiting = await serve(office, 60);
    const statements = async () =>
      Promise.all(office.customers.world.channels.map((channel) => office.sequencer.channel(channel)));
    const unfinished = async () => {
      const jobs: string[] = [];
      for await (const { jobId } of office.sequencer.unfinished()) jobs.push(jobId);
      return jobs;
    };
    const [root, open] = [rootOf(office.sequencer), office.sequencer.openReceipts];
    const [books, jobs] = [await statements(), await unfinished()];
    assert.ok(open > 0 && jobs.length === waiting.length && waiting.length > 0);
    office.reopen();
    assert.equal(rootOf(office.sequencer), root);
    assert.equal(office.sequencer.openReceipts, open);
    assert.deepEqual(await statements(), books);
    assert.deepEqual(await unfinished(), jobs);
    for (const { paid, outcome } of waiting) {
      const { jobId, status } = await office.sequencer.admit(paid);
      assert.equal(status, "known");
      await office.sequencer.complete(jobId, outcome);
    }
    assert.deepEqual(await unfinished(), []);
  });

  it("seals batches that follow from each other and that anybody can replay", async (t) => {
    const office = officeFor(t, 8, { sequencer: { maxReceipts: 10 } });
    await serve(office, 50);
    await office.sequencer.seal();
    office.reopen();
    assert.equal(await office.sequencer.seal(), undefined);
    let state = emptyState();
    const { world } = office.customers;
    const batches = office.journal.batches();
    assert.ok(batches.length > 2);
    for (const { header } of batches) {
      const sealed = openData(header!, office.journal.published(header!.dataHash)!)!;
      const { after } = replayBatch(state, sealed, { ...contextOf(world), registryTime: header!.registryTime });
      assert.ok(after);
      state = after;
    }
    assert.equal(state.totalSpent, office.sequencer.state.totalSpent);
  });

  it("starts again from a kept state, and knows the state after every batch", async (t) => {
    const office = officeFor(t, 11, { sequencer: { maxReceipts: 5, snapshotAfter: 10 } });
    await serve(office, 60);
    const root = rootOf(office.sequencer);
    const kept = office.journal.newestSnapshot(Number.MAX_SAFE_INTEGER)!;
    assert.ok(kept.batch >= 4);
    office.reopen();
    assert.equal(rootOf(office.sequencer), root);
    for (const { sequence, header } of office.journal.batches()) {
      if (header) assert.deepEqual(summarise(office.sequencer.stateAfter(sequence)), header.state);
    }
    office.journal.close();
    const raw = new DatabaseSync(office.file);
    raw.prepare("UPDATE snapshot SET bytes = (SELECT bytes FROM snapshot LIMIT 1) WHERE batch = ?").run(kept.batch);
    raw.close();
    assert.throws(() => office.reopen(), { code: "corrupt", message: /the state kept after batch/ });
  });

  it("sees the registries anew for what was registered after a batch's view", async (t) => {
    const office = officeFor(t, 9);
    const { sequencer, customers, journal } = office;
    const { world, registry } = customers;
    const complete = async (asked: AskedJob) =>
      sequencer.complete((await sequencer.admit(asked.paid)).jobId, asked.outcome);
    assert.equal((await complete(customers.ask())).batch, 1);
    const late = customers.ask(world.channels[0], world.lateAgent);
    await assert.rejects(complete(late), /unknownAgentVersion/);
    registry.time = world.registryTime + 50;
    const receipt = await complete(late);
    assert.deepEqual([receipt.batch, receipt.index, receipt.position], [1, 1, 2]);
    assert.deepEqual(journal.batches(), [{ sequence: 1, registryTime: registry.time, header: undefined }]);
    const root = rootOf(sequencer);
    office.reopen();
    assert.equal(rootOf(office.sequencer), root);
    assert.equal((await office.sequencer.seal())?.header.registryTime, registry.time);
  });

  it("starts another batch where a later view would share its receipts out in another way", async (t) => {
    const { sequencer, customers, journal } = officeFor(t, 9);
    const { world, registry } = customers;
    const before = registry.protocolShareAt(0);
    registry.protocolShareAt = (time) => (time > world.registryTime + 10 ? before + 1 : before);
    const complete = async (asked: AskedJob) =>
      sequencer.complete((await sequencer.admit(asked.paid)).jobId, asked.outcome);
    assert.equal((await complete(customers.ask())).batch, 1);
    registry.time = world.registryTime + 50;
    assert.equal((await complete(customers.ask())).batch, 1, "nothing in it needs the later view");
    const receipt = await complete(customers.ask(world.channels[0], world.lateAgent));
    assert.deepEqual([receipt.batch, receipt.index, receipt.position], [2, 0, 3]);
    const [first, second] = journal.batches();
    assert.equal(first.header?.registryTime, world.registryTime);
    assert.equal(second.registryTime, registry.time);
    assert.equal((await complete(customers.ask())).batch, 2);
  });

  it("does not open on a journal whose receipts lead to another state, or on registries not read as far", async (t) => {
    const office = officeFor(t, 10);
    await serve(office, 12);
    const { registry } = office.customers;
    registry.time -= 1;
    assert.throws(() => office.reopen(), { code: "registryNotReady" });
    registry.time += 1;
    office.reopen();
    const [first] = office.journal.receiptsOfBatch(1);
    office.journal.close();
    const raw = new DatabaseSync(office.file);
    raw.prepare("UPDATE receipt SET state_root = ? WHERE position = 2").run(first.stateRoot);
    raw.close();
    assert.throws(() => office.reopen(), { code: "corrupt", message: /receipt 1 of batch 1/ });
  });
});
