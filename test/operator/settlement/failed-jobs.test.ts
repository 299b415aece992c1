import assert from "node:assert/strict";
import { statSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import { describe, it } from "node:test";
import { type Hex, toHex } from "../../../operator/protocol/bytes.ts";
import { saltedHash } from "../../../operator/protocol/salted-hash.ts";
import type { ChainPort } from "../../../operator/settlement/chain-port.ts";
import { OldJobs } from "../../../operator/settlement/old-jobs.ts";
import { Settler } from "../../../operator/settlement/settler.ts";
import { resigned } from "../protocol/jobs.ts";
import { type Customers, customersOf, Office } from "./office.ts";

const MEBIBYTE = 2 ** 20;

function officeFor(t: { after: (end: () => void) => void }, seed: number, failedRequestBytes?: number): Office {
  const sequencer = failedRequestBytes === undefined ? {} : { failedRequestBytes };
  const office = new Office(customersOf(seed), { sequencer });
  t.after(() => office.close());
  return office;
}

/** Asks something of this size and has it fail: nothing was charged, and the same money pays for the next. */
async function askInVain({ sequencer, customers }: Office, requestBytes: number, nth: number): Promise<Hex> {
  const { world } = customers;
  const channel = world.channels[0];
  const [request, salt] = [new Uint8Array(requestBytes).fill(nth), world.dice.bytes(32)];
  const { voucher } = aVoucher(customers, channel);
  const signed = resigned(world, { ...voucher, requestHash: saltedHash(salt, request) });
  const { signature, ...unsigned } = signed;
  const { jobId } = await sequencer.admit({
    ...{ voucher: unsigned, signature: toHex(signature) },
    ...{ request, salt: toHex(salt) },
  });
  await sequencer.fail(jobId, "promptTooLong: it does not fit");
  return jobId;
}

function aVoucher({ world, registry }: Customers, channel: number) {
  const { deposit } = registry.channel(channel)!;
  const terms = { maxPrice: 1n, cap: deposit, expiry: BigInt(world.now + 1_000) };
  return { voucher: { channel, nonce: 1n, ...world.agents[0], ...terms } };
}

describe("jobs that failed", () => {
  it("do not fill the disk, however large and many their requests are", async (t) => {
    const office = officeFor(t, 61, 8 * MEBIBYTE);
    const ids: Hex[] = [];
    let largest = 0;
    for (let i = 0; i < 24; i++) {
      ids.push(await askInVain(office, 2 * MEBIBYTE, i));
      if (i === 7) largest = statSync(office.file).size;
      assert.ok(office.journal.failedRequestBytes <= 8 * MEBIBYTE);
    }
    const sizes = ids.map((id) => office.journal.job(id)!.request.length / MEBIBYTE);
    assert.deepEqual(sizes, [...Array(20).fill(0), 2, 2, 2, 2], "the newest are kept");
    // Three times as many wrote into the pages that the first ones gave back.
    assert.ok(statSync(office.file).size <= 2 * Math.max(largest, 8 * MEBIBYTE));
    assert.match((await office.sequencer.job(ids[0]))!.reason!, /^promptTooLong/, "it still says why it failed");
  });

  it("count for a page at least, so that many small requests make room for a large one at once", async (t) => {
    const office = officeFor(t, 62, MEBIBYTE);
    for (let i = 0; i < 300; i++) await askInVain(office, 10, i);
    assert.equal(office.journal.failedRequestBytes, MEBIBYTE);
    await askInVain(office, MEBIBYTE, 1);
    assert.equal(office.journal.failedRequestBytes, MEBIBYTE);
  });

  it("are forgotten after a while and not before, and no job that waits or was charged is", async (t) => {
    const office = officeFor(t, 63);
    const { world } = office.customers;
    const failed = await askInVain(office, 100, 1);
    const asked = office.customers.ask(world.channels[1]);
    const { jobId } = await office.sequencer.admit(asked.paid);
    const waiting = await office.sequencer.admit(office.customers.ask(world.channels[1]).paid);
    await office.sequencer.complete(jobId, asked.outcome);
    const old = new OldJobs({ journal: office.journal, keepFailedFor: 3_600 });
    old.forgetFailed(world.now - 1 + 3_600);
    assert.equal(office.journal.jobState(failed), "failed");
    old.forgetFailed(world.now + 3_600);
    assert.equal(office.journal.jobState(failed), undefined);
    assert.equal(office.journal.failedRequestBytes, 0);
    assert.equal(office.journal.jobState(jobId), "completed");
    assert.equal(office.journal.jobState(waiting.jobId), "accepted");
    office.reopen();
    assert.equal(office.journal.jobState(jobId), "completed");
  });

  it("are forgotten by the settler after a day, also while the chain is away", async (t) => {
    const office = officeFor(t, 65);
    const { journal, sequencer, customers } = office;
    const { world } = customers;
    const failed = await askInVain(office, 100, 1);
    const chain = { settled: () => Promise.reject(new Error("no chain")) } as unknown as ChainPort;
    const windows = { ...world.windows, challenge: 100, check: 100 };
    let now = world.now;
    const settler = new Settler({
      ...{ journal, sequencer, chain, windows, directory: office.folder },
      ...{ batchReceipts: 10, batchSeconds: 10, clock: () => now },
    });
    await assert.rejects(settler.round(), /no chain/);
    assert.equal(journal.jobState(failed), "failed");
    now += 86_400;
    await assert.rejects(settler.round(), /no chain/);
    assert.equal(journal.jobState(failed), undefined);
  });

  it("of a journal from before are counted when it is opened", async (t) => {
    const office = officeFor(t, 64);
    const failed = await askInVain(office, MEBIBYTE, 1);
    office.journal.close();
    const raw = new DatabaseSync(office.file);
    raw.exec("DROP TABLE failed_job; DROP INDEX fallen_receipt_of_job; PRAGMA user_version = 2");
    raw.close();
    office.reopen();
    assert.equal(office.journal.failedRequestBytes, MEBIBYTE);
    office.journal.transaction(() => office.journal.forgetFailed(Number.MAX_SAFE_INTEGER, 10));
    assert.equal(office.journal.jobState(failed), undefined);
  });
});
