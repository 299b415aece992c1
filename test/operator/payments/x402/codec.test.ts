import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { PaymentError } from "../../../../operator/payments/payment-error.ts";
import { type PaymentOutcome, type Quote, quoteStatement } from "../../../../operator/payments/quote.ts";
import { decodeChannelHeader, encodeChannelHeader } from "../../../../operator/payments/x402/channel-header.ts";
import { decodePaymentRequired, encodePaymentRequired } from "../../../../operator/payments/x402/payment-required.ts";
import {
  decodePaymentResponse,
  encodePaymentResponse,
  paymentOutcomeOf,
  settleResponse,
} from "../../../../operator/payments/x402/payment-response.ts";
import {
  decodePaymentSignature,
  encodePaymentSignature,
} from "../../../../operator/payments/x402/payment-signature.ts";
import { toHex } from "../../../../operator/protocol/bytes.ts";
import { diceOf } from "../../protocol/dice.ts";

const domain = { chainId: 31_337n, verifyingContract: "0x00000000000000000000000000000000000c4a17" } as const;
const dice = diceOf(7);
const url = "https://operator.example/v1/chat/completions";
const quote: Quote = {
  terms: {
    operator: 1,
    agent: 70,
    version: 2,
    pricePerJob: 10n ** 15n,
    pricePerPromptToken: 10n ** 12n,
    pricePerCompletionToken: 3n * 10n ** 12n,
  },
  domain,
  asset: `0x${"0e".repeat(20)}`,
  maxPrice: 2n * 10n ** 16n,
  voucherLife: 3_600,
};
const record = (position: number, charged: bigint) => ({
  jobId: toHex(dice.bytes(32)),
  channel: 7,
  position,
  batch: 3,
  index: position,
  price: 5n,
  charged,
  body: dice.bytes(469),
  stateRoot: dice.bytes(32),
  completedAt: 9,
});
/** The header with one member set to something else; undefined takes it away. */
const altered = (text: string, path: string, to: unknown) => {
  const value = JSON.parse(Buffer.from(text, "base64").toString());
  const names = path.split(".");
  const last = names.pop()!;
  names.reduce((holder, name) => holder[name], value)[last] = to;
  return Buffer.from(JSON.stringify(value)).toString("base64");
};
const isCode = (code: string) => (error: unknown) => error instanceof PaymentError && error.code === code;

describe("terms of payment in a header", () => {
  const receipts = Array.from({ length: 10 }, (_, i) => record(i + 1, 5n * BigInt(i + 1)));
  const statement = quoteStatement(7, { charged: 50n, reserved: 8n, receipts }, quote.maxPrice);
  const text = encodePaymentRequired({ ...quote, statement }, { url, error: "capTooLow" });

  it("arrive as they were sent, with as many receipts as fit", () => {
    const read = decodePaymentRequired(text, domain);
    assert.deepEqual(read, { quote: { ...quote, statement }, error: "capTooLow" });
    assert.deepEqual([statement.receipts.length, statement.isComplete], [6, false]);
    assert.equal(statement.requiredCap, 58n + quote.maxPrice);
    assert.ok(text.length < 12_000, "with other headers, Node reads 16 KiB");
    assert.deepEqual(decodePaymentRequired(encodePaymentRequired(quote, { url }), domain), { quote });
  });

  it("are refused when they are not for this chain and contract, or of another scheme", () => {
    const refused = (changed: string, code: string) =>
      assert.throws(() => decodePaymentRequired(changed, domain), isCode(code));
    const other = `0x${"ab".repeat(20)}`;
    assert.throws(() => decodePaymentRequired(text, { ...domain, chainId: 1n }), isCode("unknownTerms"));
    refused(altered(text, "accepts.0.scheme", "exact"), "unknownTerms");
    const moved = altered(text, "accepts.0.payTo", other);
    refused(moved, "malformed");
    refused(altered(moved, "accepts.0.extra.domain.verifyingContract", other), "unknownTerms");
  });

  it("are refused when they are malformed or too large", () => {
    const changes: [string, unknown][] = [
      ["amount", "-1"],
      ["amount", "1e3"],
      ["amount", String(2n ** 128n)],
      ["maxTimeoutSeconds", 0],
      ["extra.agent", 2 ** 32],
      ["extra.prices", undefined],
      ["extra.statement.receipts.0.body", "%%"],
      ["extra.statement.receipts.0.body", "A".repeat(2_000)],
    ];
    for (const [path, to] of changes) {
      const changed = altered(text, `accepts.0.${path}`, to);
      assert.throws(() => decodePaymentRequired(changed, domain), isCode("malformed"), path);
    }
    for (const bad of ["", "%", "bm8=", "A".repeat(20_000)]) {
      assert.throws(() => decodePaymentRequired(bad, domain), isCode("malformed"));
    }
  });
});

describe("a payment in a header", () => {
  const voucher = {
    channel: 7,
    nonce: 2n ** 63n,
    agent: 70,
    version: 2,
    requestHash: dice.bytes(32),
    maxPrice: 4n,
    cap: 9n,
    expiry: 1_700_000_000n,
  };
  const payment = { voucher, signature: toHex(dice.bytes(65)), salt: toHex(dice.bytes(32)) };
  const text = encodePaymentSignature(payment, quote);

  it("arrives as it was sent", () => {
    assert.deepEqual(decodePaymentSignature(text, domain), payment);
  });

  it("is refused when it is malformed, too large or for another contract", () => {
    const changes: [string, unknown][] = [
      ["x402Version", 1],
      ["payload.signature", "0x00"],
      ["payload.voucher.nonce", String(2n ** 64n)],
      ["payload.voucher.more", 1],
      ["payload", null],
    ];
    for (const [path, to] of changes) {
      assert.throws(() => decodePaymentSignature(altered(text, path, to), domain), isCode("malformed"), path);
    }
    const foreign = altered(text, "accepted.payTo", `0x${"ab".repeat(20)}`);
    assert.throws(() => decodePaymentSignature(foreign, domain), isCode("unknownTerms"));
    assert.throws(() => decodePaymentSignature("A".repeat(20_000), domain), isCode("malformed"));
  });
});

describe("the outcome of a payment in a header", () => {
  const { jobId, position, charged, body } = record(41, 700n);
  const outcomes: PaymentOutcome[] = [
    { state: "completed", jobId, charge: { price: 5n, charged, position, batch: 3, index: 2, body } },
    { state: "accepted", jobId },
    { state: "failed", jobId, reason: "toolFailed: the gauge does not answer" },
  ];

  it("arrives as it was sent, in a header and in a body", () => {
    for (const outcome of outcomes) {
      assert.deepEqual(decodePaymentResponse(encodePaymentResponse(outcome, domain.chainId)), outcome);
      assert.deepEqual(paymentOutcomeOf(settleResponse(outcome, domain.chainId)), outcome);
    }
  });

  it("is refused without its receipt", () => {
    const text = encodePaymentResponse(outcomes[0], domain.chainId);
    const without = altered(text, "extra.receipt", undefined);
    assert.throws(() => decodePaymentResponse(without), isCode("malformed"));
  });
});

describe("the channel in a header", () => {
  it("arrives with the last receipt that the asker has", () => {
    for (const named of [
      { channel: 7, since: 0n },
      { channel: 4_294_967_295, since: 41n },
    ]) {
      assert.deepEqual(decodeChannelHeader(encodeChannelHeader(named)), named);
    }
    for (const bad of ["", "-1", "4294967296", "7;since=", "7;since=-1", "7,8"]) {
      assert.throws(() => decodeChannelHeader(bad), isCode("malformed"));
    }
  });
});
