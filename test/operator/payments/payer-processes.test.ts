import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { payingFetch } from "../../../operator/payments/paying-fetch.ts";
import { toHex } from "../../../operator/protocol/bytes.ts";
import type { PayerTask } from "./payer-process.ts";
import { openTill, PATH, type Till } from "./till.ts";

const PROGRAM = fileURLToPath(new URL("./payer-process.ts", import.meta.url));

/** Runs a payer to its end; its exit code, or the signal that ended it. */
async function runPayer(till: Till, questions: string[], dies?: PayerTask["dies"]): Promise<number | string | null> {
  const { world } = till.office.customers;
  const task: PayerTask = {
    file: till.ledgerFile,
    channel: till.channel,
    privateKey: toHex(world.keys.get(till.channel)!),
    chainId: Number(world.domain.chainId),
    verifyingContract: world.domain.verifyingContract,
    time: till.time,
    url: till.url,
    questions,
    ...(dies ? { dies } : {}),
  };
  const child = spawn(process.execPath, [PROGRAM, JSON.stringify(task)], { stdio: ["ignore", "ignore", "inherit"] });
  return new Promise((ended) => child.on("close", (code, signal) => ended(signal ?? code)));
}

async function ask(till: Till, content: string) {
  const ledger = till.openLedger();
  const body = JSON.stringify({ model: "rivers", messages: [{ role: "user", content }] });
  const response = await payingFetch({ ledger })(`${till.url}${PATH}`, { method: "POST", body });
  assert.equal(response.status, 200);
  await response.json();
  return ledger;
}

const charged = async ({ office, channel }: Till) => (await office.sequencer.channel(channel)).charged;

test("a voucher that a killed process had signed and not sent is not forgotten before it has expired", async (t) => {
  const till = await openTill(t, 91);
  assert.equal(await runPayer(till, ["Why?"], "beforeSending"), "SIGKILL");
  const ledger = till.openLedger();
  const [signed] = ledger.history();
  assert.equal(signed.state, "signed");
  assert.deepEqual([ledger.balance().exposure, ledger.balance().jobs], [signed.voucher.cap, 1]);
  await ask(till, "How?");
  assert.equal(ledger.history()[0].voucher.nonce, 2n, "its nonce is not used again");
  assert.equal(ledger.history()[0].voucher.cap, signed.voucher.maxPrice + ledger.history()[0].voucher.maxPrice);
  till.time = Number(signed.voucher.expiry);
  till.office.customers.registry.time = till.time;
  await ask(till, "When?");
  assert.equal(ledger.job(signed.jobId)!.state, "forgotten");
  assert.equal(ledger.balance().charged, await charged(till));
});

test("a job that was charged while its payer was killed is found with its receipt", async (t) => {
  const till = await openTill(t, 92);
  assert.equal(await runPayer(till, ["Why?"], "afterTheAnswer"), "SIGKILL");
  const ledger = till.openLedger();
  assert.equal(ledger.history()[0].state, "signed");
  await ask(till, "How?");
  assert.deepEqual(
    ledger.history().map(({ state }) => state),
    ["charged", "charged"],
  );
  assert.equal(ledger.balance().charged, await charged(till));
});

test("processes that share a ledger pay from one channel at the same time", async (t) => {
  const till = await openTill(t, 93);
  const ledger = till.openLedger();
  const questions = (name: string) => Array.from({ length: 8 }, (_, i) => `${name} ${i}`);
  const codes = await Promise.all([runPayer(till, questions("one")), runPayer(till, questions("two"))]);
  assert.deepEqual(codes, [0, 0]);
  // A voucher that the other process's overtook was refused and signed anew: it is forgotten, and never charged.
  const states = ledger.history().map(({ state }) => state);
  assert.equal(states.filter((state) => state === "charged").length, 16);
  assert.ok(states.every((state) => state === "charged" || state === "forgotten"));
  assert.equal(ledger.balance().charged, await charged(till));
  assert.equal((await till.office.sequencer.channel(till.channel)).receipts.length, 16);
});
