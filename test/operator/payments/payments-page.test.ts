import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import type { PaymentOutcome, Quote } from "../../../operator/payments/quote.ts";
import { requestBytes } from "../../../operator/payments/request-bytes.ts";
import { decodePaymentRequired, encodePaymentRequired } from "../../../operator/payments/x402/payment-required.ts";
import { settleResponse } from "../../../operator/payments/x402/payment-response.ts";
import { schemePayload } from "../../../operator/payments/x402/payment-signature.ts";
import { toHex } from "../../../operator/protocol/bytes.ts";
import { saltedHash } from "../../../operator/protocol/salted-hash.ts";
import { addressOf, signDigest } from "../../../operator/protocol/signature.ts";
import { domainSeparator, voucherDigest } from "../../../operator/protocol/voucher.ts";

const page = readFileSync(new URL("../../../docs/payments.md", import.meta.url), "utf8");
const example = (name: string) => JSON.parse(page.split(`\`\`\`json ${name}\n`)[1].split("\n```")[0]);

const domain = { chainId: 31_337n, verifyingContract: "0x00000000000000000000000000000000000c4a17" } as const;
const privateKey = new Uint8Array(32).fill(7);
const salt = new Uint8Array(32).fill(0x11);

test("the headers in docs/payments.md are those that the code writes", () => {
  const required = example("required");
  const header = Buffer.from(JSON.stringify(required)).toString("base64");
  const { quote } = decodePaymentRequired(header, domain);
  const written: Quote = { ...quote, domain };
  assert.equal(encodePaymentRequired(written, { url: required.resource.url }), header);

  const bytes = requestBytes("/v1/chat/completions", example("body"));
  const { agent, version } = quote.terms;
  const [requestHash, maxPrice] = [saltedHash(salt, bytes), quote.maxPrice];
  const voucher = {
    channel: 7,
    nonce: 1n,
    agent,
    version,
    requestHash,
    maxPrice,
    cap: maxPrice,
    expiry: 1_800_003_240n,
  };
  const digest = voucherDigest(domainSeparator(domain), voucher);
  const signature = toHex(signDigest(digest, privateKey));
  assert.deepEqual(schemePayload({ voucher, signature, salt: toHex(salt) }), example("payload"));
  assert.ok(page.includes(`session address \`${addressOf(privateKey)}\``));

  const price = 1_100_000_000_000_000n;
  const charge = { price, charged: price, position: 1, batch: 1, index: 0, body: new Uint8Array(0) };
  const outcome: PaymentOutcome = { state: "completed", jobId: toHex(digest), charge };
  assert.deepEqual(settleResponse(outcome, domain.chainId), example("response"));
});
