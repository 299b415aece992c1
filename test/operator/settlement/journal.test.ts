import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { DatabaseSync } from "node:sqlite";
import { describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import { type Hex, toHex } from "../../../operator/protocol/bytes.ts";
import { keccak } from "../../../operator/protocol/keccak.ts";
import { JournalError } from "../../../operator/settlement/errors.ts";
import { Journal } from "../../../operator/settlement/journal/journal.ts";
import { customersOf, Office, openOffice, rootOf, settleLedger } from "./office.ts";

const BUSY = fileURLToPath(new URL("./busy-office.ts", import.meta.url));
const STATES: Record<string, string> = { admitted: "accepted", completed: "completed", failed: "failed" };

function officeFor(t: { after: (end: () => void) => void }, seed: number, options = {}): Office {
  const office = new Office(customersOf(seed), options);
  t.after(() => office.close());
  return office;
}

/** Starts a process that serves jobs, and kills it once it has acknowledged so many things. */
async function serveAndKill(file: string, seed: number, round: number, acknowledgements: number): Promise<string[]> {
  const child = spawn(process.execPath, [BUSY, file, String(seed), String(round)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const said: string[] = [];
  for await (const line of createInterface({ input: child.stdout })) {
    said.push(line);
    if (said.length === acknowledgements) child.kill("SIGKILL");
  }
  if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
  assert.equal(child.signalCode, "SIGKILL");
  return said;
}

describe("the journal", () => {
  it("written by the first version of this program is brought up to date, with all that is in it", async (t) => {
    const office = officeFor(t, 27);
    const { customers } = office;
    for (let i = 0; i < 5; i++) {
      const asked = customers.ask();
      const { jobId } = await office.sequencer.admit(asked.paid);
      const { price } = await office.sequencer.complete(jobId, asked.outcome);
      settleLedger(customers, asked, price);
      if (i === 2) await office.sequencer.seal();
    }
    const root = rootOf(office.sequencer);
    office.journal.close();
    const raw = new DatabaseSync(office.file);
    raw.exec(`DROP TABLE failed_job; DROP TABLE fallen_receipt; DROP TABLE fallen_batch; DROP TABLE withdrawn_receipt;
      PRAGMA user_version = 1`);
    raw.close();
    office.reopen();
    assert.equal(rootOf(office.sequencer), root);
    assert.deepEqual(office.journal.losses(), { batches: 0, receipts: 0 });
    const { world } = customers;
    const fall = { above: 0, parent: null, lies: [], postedBy: world.now, reason: "a test" };
    assert.deepEqual(await office.sequencer.rebuildAbove(fall), { kept: 5, withdrawn: [] });
    assert.deepEqual(office.journal.losses(), { batches: 1, receipts: 0 });
    office.reopen();
    assert.equal(rootOf(office.sequencer), root, "a second opening changes nothing");
  });

  it("holds all that was acknowledged, and nothing twice, however often its process is killed", async (t) => {
    const seed = 21;
    const office = officeFor(t, seed);
    office.journal.close();
    const states = new Map<string, string>();
    for (let round = 1; round <= 5; round++) {
      const acknowledgements = office.customers.world.dice.between(1, 120);
      for (const line of await serveAndKill(office.file, seed, round, acknowledgements)) {
        const [what, id] = line.split(" ");
        states.set(id, STATES[what]);
      }
      // Opening replays every receipt and compares the state after each.
      const [journal, sequencer] = openOffice(office.file, customersOf(seed));
      for (const [id, state] of states) {
        const found = journal.jobState(id as Hex);
        // What was done and not yet said when the process died may be there as well.
        assert.ok(found === state || (state === "accepted" && found), `${id} is ${found}, acknowledged as ${state}`);
      }
      let spent = 0n;
      let receipts = 0;
      const jobs = new Set<string>();
      for (const { sequence } of journal.batches()) {
        for (const receipt of journal.receiptsOfBatch(sequence)) {
          spent += receipt.price;
          assert.equal(receipt.position, ++receipts);
          jobs.add(receipt.jobId);
        }
      }
      assert.equal(jobs.size, receipts);
      assert.equal(sequencer.state.totalSpent, spent);
      journal.close();
    }
    assert.ok([...states.values()].filter((state) => state === "completed").length > 20);
  });

  it("is written by one process at a time, and is free once that process is killed", async (t) => {
    const office = officeFor(t, 22);
    const { operator, separator } = office.journal;
    const open = () => new Journal({ file: office.file, operator, separator });
    assert.throws(open, { code: "locked" });
    office.journal.close();
    const child = spawn(process.execPath, [BUSY, office.file, "22", "1"], { stdio: ["ignore", "pipe", "inherit"] });
    await once(child.stdout, "data");
    assert.throws(open, { code: "locked" });
    child.stdout.resume();
    child.kill("SIGKILL");
    await once(child, "exit");
    open().close();
  });

  it("takes nothing by halves when the disk is full, and goes on when there is room", async (t) => {
    const office = officeFor(t, 23, { journal: { maxBytes: 110_000 } });
    const { customers } = office;
    const full = (error: unknown) => error instanceof JournalError && error.code === "full";
    const channel = customers.world.channels[0];
    const admitted = [];
    let refused: ReturnType<typeof customers.ask> | undefined;
    while (!refused) {
      const asked = customers.ask(channel);
      try {
        admitted.push({ ...asked, id: (await office.sequencer.admit(asked.paid)).jobId });
      } catch (error) {
        assert.ok(full(error));
        refused = asked;
      }
    }
    assert.ok(admitted.length > 10);
    assert.match(office.journal.writeError!, /^No room for /);
    // What writes nothing does not tell that there is room.
    assert.equal((await office.sequencer.admit(admitted[0].paid)).status, "known");
    assert.match(office.journal.writeError!, /^No room for /);
    await office.sequencer.fail(admitted.at(-1)!.id, "it makes room");
    assert.equal(office.journal.writeError, undefined);
    admitted.pop();
    const reserved = admitted.reduce((sum, { paid }) => sum + paid.voucher.maxPrice, 0n);
    const root = rootOf(office.sequencer);
    const nothingHappened = async () => {
      assert.equal(rootOf(office.sequencer), root);
      const statement = await office.sequencer.channel(channel);
      assert.deepEqual(statement, { charged: 0n, reserved, receipts: [] });
      assert.equal(office.sequencer.openReceipts, 0);
    };
    await nothingHappened();
    // A trace that fits no page that is left; before it in the same group, what would have fitted.
    const { id } = admitted[0];
    const trace = new Uint8Array(30_000);
    const outcome = { ...admitted[0].outcome, trace, traceHash: toHex(keccak(trace)) };
    const failures = await Promise.allSettled([
      office.sequencer.complete(admitted[1].id, admitted[1].outcome),
      office.sequencer.fail(admitted[2].id, "the model is ill"),
      office.sequencer.complete(id, outcome),
    ]);
    assert.ok(failures.every(({ status }) => status === "rejected"));
    await nothingHappened();
    office.reopen({ maxBytes: 110_000 });
    await nothingHappened();

    office.reopen({ maxBytes: 2_000_000 });
    assert.equal((await office.sequencer.admit(refused.paid)).status, "admitted");
    for (const job of admitted) await office.sequencer.complete(job.id, job.outcome);
    assert.equal((await office.sequencer.channel(channel)).receipts.length, admitted.length);
  });

  it("is not opened for another operator or chain, or by a program older than it", (t) => {
    const office = officeFor(t, 24);
    const { file } = office;
    const { operator, separator } = office.journal;
    office.journal.close();
    assert.throws(() => new Journal({ file, operator: operator + 1, separator }), { code: "foreign" });
    assert.throws(() => new Journal({ file, operator, separator: new Uint8Array(32) }), { code: "foreign" });
    new Journal({ file, operator, separator }).close();
    const raw = new DatabaseSync(file);
    raw.exec("PRAGMA user_version = 99");
    raw.close();
    assert.throws(() => new Journal({ file, operator, separator }), { code: "unknownSchema" });
  });
});
