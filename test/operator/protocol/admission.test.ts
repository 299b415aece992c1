import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import {
  accountOf,
  admit,
  type ChannelAccount,
  completeJob,
  failJob,
  reservedOf,
} from "../../../operator/protocol/admission.ts";
import {
  type CapLedger,
  confirmJob,
  forgetJob,
  openCapLedger,
  reserveCap,
} from "../../../operator/protocol/cap-ledger.ts";
import { nonceIsFree, useNonce } from "../../../operator/protocol/nonce-window.ts";
import { UNUSED_CHANNEL } from "../../../operator/protocol/state.ts";
import type { Voucher } from "../../../operator/protocol/voucher.ts";

const TERMS = { deposit: 10n ** 6n, thawing: 0n, now: 1_000, voucherLife: 3_600 };

function voucherOf(nonce: bigint, maxPrice: bigint, cap: bigint, expiry = 2_000n): Voucher {
  return { channel: 1, nonce, agent: 1, version: 1, requestHash: new Uint8Array(32), maxPrice, cap, expiry };
}

const mustAdmit = (account: ChannelAccount, voucher: Voucher, terms = TERMS): ChannelAccount => {
  const admission = admit(account, voucher, terms);
  assert.ok(admission.admitted, admission.admitted ? "" : admission.refusal);
  return admission.account;
};

/** What happens next on a channel: mostly admissions at first, so that many jobs are in flight together. */
const events = fc.array(
  fc.record({
    what: fc.oneof(
      { weight: 10, arbitrary: fc.constant("admit" as const) },
      { weight: 3, arbitrary: fc.constant("complete" as const) },
      { weight: 1, arbitrary: fc.constant("fail" as const) },
    ),
    which: fc.nat(),
    maxPrice: fc.bigInt({ min: 0n, max: 1_000n }),
    /** How much of its maximum a job costs, in percent. */
    cost: fc.integer({ min: 0, max: 100 }),
    slack: fc.constantFrom(0n, 0n, 0n, 1n, 500n),
    nonceAhead: fc.oneof(
      { weight: 20, arbitrary: fc.constant(1n) },
      { weight: 3, arbitrary: fc.constantFrom(2n, 7n) },
      { weight: 1, arbitrary: fc.constantFrom(100n, 300n) },
    ),
    goesBack: fc.oneof({ weight: 9, arbitrary: fc.constant(false) }, { weight: 1, arbitrary: fc.constant(true) }),
  }),
  { minLength: 150, maxLength: 400 },
);

describe("admission to a channel", () => {
  it("lets jobs complete in any order, or fail, with all charges covered by the caps of completed jobs", () => {
    let mostInFlight = 0;
    let refusedForWindow = 0;
    fc.assert(
      fc.property(events, (story) => {
        let account = accountOf(UNUSED_CHANNEL);
        const vouchers = new Map<bigint, Voucher>();
        // The channel's leaf, as the verifier moves it.
        const leaf = { spent: 0n, capSeen: 0n };
        let window = { top: 0n, bitmap: 0n };
        let newest = 0n;
        for (const { what, which, maxPrice, cost, slack, nonceAhead, goesBack } of story) {
          const inFlight = [...account.inFlight.keys()];
          mostInFlight = Math.max(mostInFlight, inFlight.length);
          const nonce = inFlight[which % Math.max(1, inFlight.length)];
          if (what === "admit") {
            // A payer may sign any cap that suffices, a lower one after a higher one too, and any nonce.
            const next = goesBack && newest > 3n ? newest - BigInt(which % 4) : newest + nonceAhead;
            const voucher = voucherOf(next, maxPrice, account.charged + reservedOf(account) + maxPrice + slack);
            const admission = admit(account, voucher, TERMS);
            if (!admission.admitted) {
              assert.ok(admission.refusal === "nonceUsed" || admission.refusal === "nonceTooFar", admission.refusal);
              refusedForWindow++;
              continue;
            }
            account = admission.account;
            vouchers.set(next, voucher);
            if (next > newest) newest = next;
          } else if (nonce !== undefined && what === "complete") {
            const voucher = vouchers.get(nonce)!;
            const price = (voucher.maxPrice * BigInt(cost)) / 100n;
            account = completeJob(account, nonce, price);
            assert.ok(nonceIsFree(window, nonce), "the verifier takes the nonce");
            window = useNonce(window, nonce);
            leaf.spent += price;
            if (voucher.cap > leaf.capSeen) leaf.capSeen = voucher.cap;
            assert.ok(leaf.spent <= leaf.capSeen, "the verifier finds the charge covered");
            assert.equal(account.charged, leaf.spent);
            assert.deepEqual(account.window, window);
          } else if (nonce !== undefined) {
            account = failJob(account, nonce);
          }
        }
        assert.ok(leaf.capSeen <= TERMS.deposit);
      }),
      { numRuns: 150 },
    );
    assert.ok(mostInFlight >= 64, `only ${mostInFlight} were in flight together`);
    assert.ok(refusedForWindow > 0);
  });

  it("admits whatever an honest payer's ledger signs, however late the receipts reach it", () => {
    fc.assert(
      fc.property(events, (story) => {
        let ledger: CapLedger = openCapLedger();
        let account = accountOf(UNUSED_CHANNEL);
        let underway: { nonce: bigint; outcome: bigint | "failed" }[] = [];
        for (const { what, which, maxPrice, cost } of story) {
          const inFlight = [...account.inFlight];
          const job = inFlight[which % Math.max(1, inFlight.length)];
          if (what === "admit") {
            const reservation = reserveCap(ledger, maxPrice);
            if (!reservation) continue;
            ledger = reservation.ledger;
            account = mustAdmit(account, voucherOf(reservation.nonce, maxPrice, reservation.cap));
          } else if (job) {
            const [nonce, highest] = job;
            const price = (highest * BigInt(cost)) / 100n;
            account = what === "complete" ? completeJob(account, nonce, price) : failJob(account, nonce);
            underway.push({ nonce, outcome: what === "complete" ? price : "failed" });
          }
          // News reach the payer late and in any order.
          const arriving = underway.filter((_, i) => (which + i) % 3 === 0);
          underway = underway.filter((_, i) => (which + i) % 3 !== 0);
          for (const { nonce, outcome } of arriving) {
            ledger = outcome === "failed" ? forgetJob(ledger, nonce) : confirmJob(ledger, nonce, outcome);
          }
          assert.ok(account.charged + reservedOf(account) <= ledger.exposure);
        }
      }),
      { numRuns: 150 },
    );
  });

  it("asks for a cap over what is charged, reserved and asked, and says which", () => {
    let account = mustAdmit(accountOf(UNUSED_CHANNEL), voucherOf(1n, 100n, 100n));
    account = mustAdmit(account, voucherOf(2n, 50n, 150n));
    account = completeJob(account, 2n, 40n);
    assert.deepEqual(admit(account, voucherOf(3n, 10n, 149n), TERMS), {
      admitted: false,
      refusal: "capTooLow",
      requiredCap: 150n,
    });
    account = mustAdmit(account, voucherOf(3n, 10n, 150n));
    assert.equal(reservedOf(account), 110n);
    account = failJob(account, 1n);
    assert.equal(reservedOf(account), 10n);
    mustAdmit(account, voucherOf(1n, 20n, 70n));
  });

  const refusals: [string, string, Voucher, Partial<typeof TERMS>][] = [
    ["that is over", "expired", voucherOf(1n, 1n, 1n, 1_000n), {}],
    ["that lives too long", "expiryTooFar", voucherOf(1n, 1n, 1n, 4_601n), {}],
    ["for a price of 2^96", "maxPriceTooHigh", voucherOf(1n, 2n ** 96n, 2n ** 96n), { deposit: 2n ** 97n }],
    ["above the deposit", "capAboveDeposit", voucherOf(1n, 1n, 101n), { deposit: 100n }],
    ["above what is not thawing", "capAboveDeposit", voucherOf(1n, 1n, 61n), { deposit: 100n, thawing: 40n }],
  ];
  for (const [name, refusal, voucher, terms] of refusals) {
    it(`refuses a voucher ${name}`, () => {
      assert.deepEqual(admit(accountOf(UNUSED_CHANNEL), voucher, { ...TERMS, ...terms }), { admitted: false, refusal });
    });
  }

  it("refuses a nonce in flight, used, or below the window", () => {
    let account = mustAdmit(accountOf(UNUSED_CHANNEL), voucherOf(400n, 1n, 9n));
    const refusal = (nonce: bigint) => {
      const admission = admit(account, voucherOf(nonce, 1n, 9n), TERMS);
      return admission.admitted ? "admitted" : admission.refusal;
    };
    assert.equal(refusal(400n), "nonceUsed");
    account = completeJob(account, 400n, 1n);
    assert.equal(refusal(400n), "nonceUsed");
    assert.equal(refusal(144n), "nonceUsed");
    assert.equal(refusal(145n), "admitted");
  });

  it("keeps nonces in flight within a window of each other, above and below", () => {
    const account = mustAdmit(accountOf(UNUSED_CHANNEL), voucherOf(300n, 1n, 9n));
    const refused = (nonce: bigint) => !admit(account, voucherOf(nonce, 1n, 9n), TERMS).admitted;
    assert.ok(!refused(555n));
    assert.ok(refused(556n));
    assert.ok(!refused(45n));
    assert.ok(refused(44n));
  });

  it("refuses to charge what is not in flight or more than the maximum", () => {
    const account = mustAdmit(accountOf(UNUSED_CHANNEL), voucherOf(1n, 5n, 5n));
    assert.throws(() => completeJob(account, 2n, 1n), { name: "ProtocolError" });
    assert.throws(() => completeJob(account, 1n, 6n), { name: "ProtocolError" });
  });
});

describe("a payer's ledger of caps", () => {
  it("signs what is charged, what may be, and this job's maximum; its exposure is the highest cap", () => {
    const first = reserveCap(openCapLedger(7n), 100n)!;
    assert.deepEqual([first.nonce, first.cap], [1n, 107n]);
    const second = reserveCap(first.ledger, 50n)!;
    assert.deepEqual([second.nonce, second.cap], [2n, 157n]);
    const settled = confirmJob(forgetJob(second.ledger, 2n), 1n, 30n);
    const third = reserveCap(settled, 10n)!;
    assert.deepEqual([third.nonce, third.cap, third.ledger.exposure], [3n, 47n, 157n]);
  });

  it("refuses a receipt above the job's maximum or for a job it never signed", () => {
    const { ledger } = reserveCap(openCapLedger(), 5n)!;
    assert.throws(() => confirmJob(ledger, 1n, 6n), { name: "ProtocolError" });
    assert.throws(() => confirmJob(ledger, 9n, 1n), { name: "ProtocolError" });
  });

  it("waits rather than sign a nonce that would push an unresolved one out of the window", () => {
    let ledger = openCapLedger();
    for (let i = 0; i < 256; i++) ledger = reserveCap(ledger, 1n)!.ledger;
    assert.equal(reserveCap(ledger, 1n), undefined);
    assert.ok(reserveCap(forgetJob(ledger, 1n), 1n));
  });
});
