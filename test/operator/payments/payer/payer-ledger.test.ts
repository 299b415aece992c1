import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it, type TestContext } from "node:test";
import fc from "fast-check";
import { PayerLedger, type SignedJob } from "../../../../operator/payments/payer/payer-ledger.ts";
import { PaymentError } from "../../../../operator/payments/payment-error.ts";
import type { Quote } from "../../../../operator/payments/quote.ts";
import { decodePaymentSignature } from "../../../../operator/payments/x402/payment-signature.ts";
import {
  accountOf,
  admit,
  type ChannelAccount,
  completeJob,
  failJob,
} from "../../../../operator/protocol/admission.ts";
import { fromHex } from "../../../../operator/protocol/bytes.ts";
import { encodeReceipt } from "../../../../operator/protocol/receipt.ts";
import { channelIn, emptyState } from "../../../../operator/protocol/state.ts";

const domain = { chainId: 31_337n, verifyingContract: "0x00000000000000000000000000000000000c4a17" } as const;
const privateKey = new Uint8Array(32).fill(7);
const NOW = 1_800_000_000;
const request = new TextEncoder().encode("a question");

/** One wei for each prompt token, so that tokens are the price. */
const quoteOf = (maxPrice: bigint): Quote => ({
  terms: { operator: 1, agent: 5, version: 1, pricePerJob: 0n, pricePerPromptToken: 1n, pricePerCompletionToken: 0n },
  domain,
  asset: `0x${"0e".repeat(20)}`,
  maxPrice,
  voucherLife: 3_600,
});

/** What the operator charges for a job; `tokens` may be what the price is not. */
function receiptFor({ header }: SignedJob, price: bigint, tokens = Number(price)): Uint8Array {
  const { voucher, signature } = decodePaymentSignature(header, domain);
  return encodeReceipt({
    voucher: { ...voucher, signature: fromHex(signature) },
    responseHash: new Uint8Array(32),
    traceHash: new Uint8Array(32),
    promptTokens: tokens,
    completionTokens: 0,
    price,
    context: [],
    training: [],
    tool: [],
  });
}

function folder(t: TestContext): string {
  const made = mkdtempSync(join(tmpdir(), "openledger-ledger-"));
  t.after(() => rmSync(made, { recursive: true }));
  return made;
}

function open(file: string, clock = () => NOW, more = {}): PayerLedger {
  return new PayerLedger({ file, channel: 7, domain, privateKey, clock, ...more });
}

const isCode = (code: string) => (error: unknown) => error instanceof PaymentError && error.code === code;

describe("a payer's ledger", () => {
  it("signs the least cap that covers all jobs open, whatever happens in between", async (t) => {
    const place = folder(t);
    let runs = 0;
    const step = fc.oneof(
      fc.record({ kind: fc.constant("reserve" as const), value: fc.integer({ min: 0, max: 1_000 }) }),
      fc.record({ kind: fc.constantFrom("confirm", "fail", "reopen"), value: fc.nat(1_000) }),
    );
    fc.assert(
      fc.property(fc.array(step, { minLength: 5, maxLength: 30 }), (steps) => {
        const file = join(place, `${runs++}.sqlite`);
        let ledger = open(file);
        let account: ChannelAccount = accountOf(channelIn(emptyState(), 7));
        const unresolved: SignedJob[] = [];
        let [charged, highest, position] = [0n, 0n, 0];
        const worst = () => charged + unresolved.reduce((sum, job) => sum + job.maxPrice, 0n);
        for (const { kind, value } of steps) {
          const at = value % Math.max(1, unresolved.length);
          if (kind === "reserve") {
            const job = ledger.reserve(quoteOf(BigInt(value)), request);
            unresolved.push(job);
            assert.equal(job.cap, worst());
            if (job.cap > highest) highest = job.cap;
            const { voucher } = decodePaymentSignature(job.header, domain);
            const terms = { deposit: 10n ** 18n, thawing: 0n, now: NOW, voucherLife: 3_600 };
            const admission = admit(account, voucher, terms);
            assert.ok(admission.admitted, "an honest operator takes every voucher");
            account = admission.account;
          } else if (kind === "reopen") {
            ledger.close();
            ledger = open(file);
          } else if (unresolved.length > 0) {
            const [job] = unresolved.splice(at, 1);
            if (kind === "confirm") {
              const price = BigInt(value) < job.maxPrice ? BigInt(value) : job.maxPrice;
              charged += price;
              position += 2;
              account = completeJob(account, job.nonce, price);
              ledger.confirm(job.jobId, { price, charged, position, body: receiptFor(job, price) });
            } else {
              account = failJob(account, job.nonce);
              ledger.forget(job.jobId, "failed");
            }
          }
          const balance = ledger.balance();
          assert.deepEqual([balance.charged, balance.charged + balance.unresolved], [charged, worst()]);
          assert.equal(balance.exposure, highest);
        }
        ledger.close();
      }),
      { numRuns: 40 },
    );
  });

  it("belongs to one channel, contract and key", (t) => {
    const file = join(folder(t), "ledger.sqlite");
    open(file).close();
    assert.throws(() => open(file, undefined, { channel: 8 }), isCode("foreignLedger"));
    assert.throws(() => open(file, undefined, { domain: { ...domain, chainId: 1n } }), isCode("foreignLedger"));
    assert.throws(() => open(file, undefined, { privateKey: new Uint8Array(32).fill(8) }), isCode("foreignLedger"));
    open(file).close();
  });

  it("takes receipts in any order, each once", (t) => {
    const ledger = open(join(folder(t), "ledger.sqlite"));
    const jobs = [10n, 20n, 30n].map((maxPrice) => ledger.reserve(quoteOf(maxPrice), request));
    const charges = jobs.map((job, i) => {
      const price = job.maxPrice / 2n;
      return { price, charged: [5n, 15n, 30n][i], position: i + 1, body: receiptFor(job, price) };
    });
    ledger.confirm(jobs[2].jobId, charges[2]);
    assert.equal(ledger.since, 0n, "others are missing before it");
    for (const i of [0, 1, 1, 2]) ledger.confirm(jobs[i].jobId, charges[i]);
    assert.deepEqual([ledger.since, ledger.balance().charged], [3n, 30n]);
    ledger.close();
  });

  it("has no more than 256 nonces open, and forgets the oldest once it cannot be in flight", (t) => {
    let now = NOW;
    const ledger = open(join(folder(t), "ledger.sqlite"), () => now);
    const first = ledger.reserve(quoteOf(5n), request);
    for (let i = 0; i < 255; i++) ledger.forget(ledger.reserve(quoteOf(1n), request).jobId, "failed");
    assert.throws(() => ledger.reserve(quoteOf(1n), request), isCode("tooManyUnresolved"));
    const statement = { channel: 7, charged: 0n, requiredCap: 1n, receipts: [], isComplete: true };
    now = Number(first.expiry);
    ledger.takeStatement({ ...statement, reserved: 5n });
    assert.equal(ledger.job(first.jobId)!.state, "signed", "it may be in flight");
    ledger.takeStatement({ ...statement, reserved: 4n });
    assert.equal(ledger.job(first.jobId)!.state, "forgotten");
    assert.ok(ledger.reserve(quoteOf(1n), request));
    ledger.close();
  });
});

describe("a job that the operator says it never got", () => {
  it("is believed to be lost once it cannot be on its way any more, however it was sent", (t) => {
    let now = NOW;
    const ledger = open(join(folder(t), "ledger.sqlite"), () => now);
    const job = ledger.reserve(quoteOf(5n), request);
    const stateAfter = (seconds: number) => {
      now += seconds;
      ledger.disown(job.jobId);
      return ledger.job(job.jobId)!.state;
    };
    assert.equal(stateAfter(29), "signed");
    ledger.lose(job.jobId, "unknown");
    assert.equal(stateAfter(29), "signed");
    // Sent again by whoever asks the same.
    assert.equal(ledger.claimLost(request, false)?.jobId, job.jobId);
    assert.equal(stateAfter(29), "signed");
    assert.equal(stateAfter(1), "forgotten");
    // It was a lie, or a slow line: the receipt counts all the same.
    ledger.confirm(job.jobId, { price: 5n, charged: 5n, position: 1, body: receiptFor(job, 5n) });
    ledger.disown(job.jobId);
    assert.deepEqual([ledger.job(job.jobId)!.state, ledger.balance().charged], ["charged", 5n]);
    ledger.close();
  });

  it("is asked for early enough, also where its asker was killed", (t) => {
    const ledger = open(join(folder(t), "ledger.sqlite"));
    const { jobId } = ledger.reserve(quoteOf(5n), request);
    const others = (count: number) => {
      for (let i = 0; i < count; i++) ledger.forget(ledger.reserve(quoteOf(1n), request).jobId, "failed");
    };
    others(126);
    assert.deepEqual(ledger.adrift(), []);
    others(1);
    assert.deepEqual(
      ledger.adrift().map((job) => job.jobId),
      [jobId],
    );
    ledger.close();
  });
});

describe("an operator that lies", () => {
  type Case = (ledger: PayerLedger, jobs: SignedJob[]) => void;
  const charge = (job: SignedJob, price: bigint, charged = price, position = 1, tokens?: number) => ({
    price,
    charged,
    position,
    body: receiptFor(job, price, tokens),
  });
  const told = (given: { charged: bigint; position: number; body: Uint8Array }[], charged: bigint) => ({
    channel: 7,
    charged,
    reserved: 0n,
    requiredCap: 0n,
    receipts: given,
    isComplete: true,
  });
  const stranger = (t: TestContext) => {
    const other = open(join(folder(t), "other.sqlite"), undefined, { privateKey: new Uint8Array(32).fill(9) });
    const job = other.reserve(quoteOf(100n), request);
    other.close();
    return job;
  };
  const lies: Record<string, (t: TestContext) => Case> = {
    "charges above the voucher's maximum":
      () =>
      (ledger, [job]) =>
        ledger.confirm(job.jobId, charge(job, 101n)),
    "charges more than the terms give":
      () =>
      (ledger, [job]) =>
        ledger.confirm(job.jobId, charge(job, 60n, 60n, 1, 50)),
    "names a price that its receipt does not have":
      () =>
      (ledger, [job]) =>
        ledger.confirm(job.jobId, { ...charge(job, 50n), price: 49n }),
    "charges for a voucher of another key": (t) => (ledger) =>
      ledger.takeStatement(told([charge(stranger(t), 5n)], 5n)),
    "gives one job's receipt for another":
      () =>
      (ledger, [job, other]) =>
        ledger.confirm(job.jobId, charge(other, 5n)),
    "shows bytes that are no receipt":
      () =>
      (ledger, [job]) =>
        ledger.confirm(job.jobId, { ...charge(job, 5n), body: new Uint8Array(300) }),
    "says that more was charged than any cap allows":
      () =>
      (ledger, [job]) =>
        ledger.confirm(job.jobId, charge(job, 5n, 10_000n)),
    "charges more in all than its receipts show":
      () =>
      (ledger, [job]) =>
        ledger.takeStatement(told([charge(job, 5n)], 6n)),
    "adds more than a receipt's price":
      () =>
      (ledger, [job, other]) =>
        ledger.takeStatement(told([charge(job, 5n), charge(other, 5n, 11n, 2)], 11n)),
    "puts one job in two places":
      () =>
      (ledger, [job]) =>
        ledger.takeStatement(told([charge(job, 5n), charge(job, 5n, 10n, 2)], 10n)),
    "puts two jobs in one place":
      () =>
      (ledger, [job, other]) => {
        ledger.confirm(job.jobId, charge(job, 5n));
        ledger.confirm(other.jobId, charge(other, 5n, 10n, 1));
      },
  };
  for (const [name, lie] of Object.entries(lies)) {
    it(`is found out when it ${name}, and gets nothing signed any more`, (t) => {
      const file = join(folder(t), "ledger.sqlite");
      const ledger = open(file);
      const jobs = [100n, 100n].map((maxPrice) => ledger.reserve(quoteOf(maxPrice), request));
      assert.throws(() => lie(t)(ledger, jobs), isCode("operatorLied"));
      const { exposure } = ledger.balance();
      assert.throws(() => ledger.reserve(quoteOf(1n), request), isCode("operatorLied"));
      ledger.close();
      const again = open(file);
      assert.throws(() => again.reserve(quoteOf(1n), request), isCode("operatorLied"));
      assert.equal(again.balance().exposure, exposure);
      again.close();
    });
  }

  it("is no liar when it charges less, after receipts of a batch that fell were withdrawn", (t) => {
    const ledger = open(join(folder(t), "ledger.sqlite"));
    const [a, b, c] = [1, 2, 3].map(() => ledger.reserve(quoteOf(100n), request));
    ledger.confirm(a.jobId, charge(a, 10n, 10n, 1));
    ledger.confirm(b.jobId, charge(b, 20n, 30n, 2));
    ledger.takeStatement(told([charge(c, 5n, 25n, 3)], 25n));
    assert.equal(ledger.since, 3n);
    assert.ok(ledger.reserve(quoteOf(1n), request).cap >= 26n);
    ledger.close();
  });
});
