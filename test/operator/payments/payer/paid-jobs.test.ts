import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { describe, it, type TestContext } from "node:test";
import { PaidJobs } from "../../../../operator/payments/payer/paid-jobs.ts";
import { PayerLedger, type SignedJob } from "../../../../operator/payments/payer/payer-ledger.ts";
import { PaymentError } from "../../../../operator/payments/payment-error.ts";
import { decodePaymentSignature } from "../../../../operator/payments/x402/payment-signature.ts";
import { fromHex } from "../../../../operator/protocol/bytes.ts";
import { encodeReceipt } from "../../../../operator/protocol/receipt.ts";
import { saltedHash } from "../../../../operator/protocol/salted-hash.ts";

const domain = { chainId: 31_337n, verifyingContract: "0x00000000000000000000000000000000000c4a17" } as const;
const NOW = 1_800_000_000;
const bytes = (text: string) => new TextEncoder().encode(text);
const prices = { pricePerJob: 1n, pricePerPromptToken: 0n, pricePerCompletionToken: 0n };
const quote = {
  ...({ domain, asset: `0x${"0e".repeat(20)}`, maxPrice: 10n, voucherLife: 3_600 } as const),
  terms: { operator: 1, agent: 5, version: 1, ...prices },
};

function fileIn(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), "openledger-paid-"));
  t.after(() => rmSync(folder, { recursive: true }));
  return join(folder, "ledger.sqlite");
}

const open = (file: string, keepExchanges?: number) =>
  new PayerLedger({
    file,
    channel: 7,
    domain,
    privateKey: new Uint8Array(32).fill(7),
    clock: () => NOW,
    keepExchanges,
  });

/** Has jobs answered and charged, and their answers compared. */
function answered(ledger: PayerLedger, ...questions: string[]): SignedJob[] {
  return questions.map((question) => {
    const job = ledger.reserve(quote, bytes(question));
    const { voucher, signature, salt } = decodePaymentSignature(job.header, domain);
    const answer = bytes(`of ${question}`);
    const body = encodeReceipt({
      voucher: { ...voucher, signature: fromHex(signature) },
      responseHash: saltedHash(fromHex(salt), answer),
      traceHash: new Uint8Array(32),
      ...{ promptTokens: 1, completionTokens: 1, price: 1n, context: [], training: [], tool: [] },
    });
    const position = Number(job.nonce);
    ledger.confirm(job.jobId, { body, position, charged: BigInt(position), price: 1n });
    ledger.checkAnswer(job.jobId, () => answer);
    return job;
  });
}

const isForeign = (error: unknown) => error instanceof PaymentError && error.code === "foreignLedger";

describe("the paid jobs of a ledger", () => {
  it("have receipt and salt for good, question and answer as long as they are among the newest", (t) => {
    const file = fileIn(t);
    const ledger = open(file, 2);
    const jobs = answered(ledger, "a", "b", "c");
    ledger.reserve(quote, bytes("not answered"));
    const paid = new PaidJobs(file, domain);
    assert.deepEqual(
      paid.unexamined(0).map(({ jobId }) => jobId),
      jobs.map(({ jobId }) => jobId).reverse(),
    );
    const [a, b, c] = jobs.map(({ jobId }) => paid.job(jobId));
    assert.deepEqual([a.request, b.request, a.receipt.length > 0], [undefined, undefined, true]);
    assert.deepEqual(
      [c.request, c.response],
      [bytes("c"), bytes("of c")].map((one) => new Uint8Array(one)),
    );
    assert.deepEqual(a.salt, fromHex(ledger.saltOf(jobs[0].jobId)!));
    paid.close();
    ledger.close();
  });

  it("have none of it where their payer wants none kept, what was kept before included", (t) => {
    const file = fileIn(t);
    const first = open(file);
    const [old] = answered(first, "an old question");
    first.close();
    const ledger = open(file, 0);
    const [job] = answered(ledger, "a question");
    const paid = new PaidJobs(file, domain);
    for (const { jobId } of [old, job]) assert.equal(paid.job(jobId).request, undefined);
    paid.close();
    ledger.close();
  });

  it("are taken once; those that could not be done again, three times", (t) => {
    const file = fileIn(t);
    const ledger = open(file);
    const [one, other] = answered(ledger, "one", "other");
    const paid = new PaidJobs(file, domain);
    paid.note(one.jobId, { verdict: "verified", detail: "", at: NOW });
    for (let tries = 0; tries < 3; tries++) {
      assert.deepEqual(
        paid.unexamined(0).map(({ jobId }) => jobId),
        [other.jobId],
      );
      paid.note(other.jobId, { verdict: "unchecked", detail: "gone", at: NOW });
    }
    assert.deepEqual(paid.unexamined(0), []);
    const [late] = answered(ledger, "late");
    assert.deepEqual(
      paid.unexamined(NOW).map(({ jobId }) => jobId),
      [late.jobId],
    );
    assert.deepEqual(paid.unexamined(NOW + 1), [], "signed before");
    paid.close();
    ledger.close();
  });

  it("of a ledger that an earlier version has written are taken over, without question and answer", (t) => {
    const file = fileIn(t);
    const ledger = open(file);
    const [job] = answered(ledger, "before");
    ledger.close();
    const database = new DatabaseSync(file);
    database.exec(
      "DROP TABLE exchange; DROP TABLE examined; ALTER TABLE job DROP COLUMN sent_at; PRAGMA user_version = 1;",
    );
    database.close();
    const paid = new PaidJobs(file, domain);
    assert.equal(paid.unexamined(0)[0].jobId, job.jobId);
    assert.equal(paid.job(job.jobId).request, undefined);
    paid.close();
    const again = open(file);
    assert.equal(answered(again, "after").length, 1);
    again.close();
  });

  it("are not read from what is no ledger, or one of another chain", (t) => {
    const file = fileIn(t);
    assert.throws(() => new PaidJobs(file, domain), isForeign);
    open(file).close();
    assert.throws(() => new PaidJobs(file, { ...domain, chainId: 1n }), isForeign);
    writeFileSync(`${file}.txt`, "a shopping list, and not a database of any kind");
    assert.throws(() => new PaidJobs(`${file}.txt`, domain), isForeign);
  });
});
