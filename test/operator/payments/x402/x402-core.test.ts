import assert from "node:assert/strict";
import { describe, it, type TestContext } from "node:test";
import { x402Client } from "@x402/core/client";
import { x402Facilitator } from "@x402/core/facilitator";
import { decodePaymentSignatureHeader, encodePaymentSignatureHeader } from "@x402/core/http";
import { x402ResourceServer } from "@x402/core/server";
import type { PaymentPayload } from "@x402/core/types";
import { PaymentError } from "../../../../operator/payments/payment-error.ts";
import { requestBytes } from "../../../../operator/payments/request-bytes.ts";
import { voucherClient } from "../../../../operator/payments/x402/client-scheme.ts";
import { voucherFacilitator } from "../../../../operator/payments/x402/facilitator-scheme.ts";
import { requirementsOf } from "../../../../operator/payments/x402/payment-required.ts";
import { paymentOutcomeOf } from "../../../../operator/payments/x402/payment-response.ts";
import { decodePaymentSignature } from "../../../../operator/payments/x402/payment-signature.ts";
import { voucherServer } from "../../../../operator/payments/x402/server-scheme.ts";
import { toHex } from "../../../../operator/protocol/bytes.ts";
import { signDigest } from "../../../../operator/protocol/signature.ts";
import { type Voucher, voucherDigest } from "../../../../operator/protocol/voucher.ts";
import type { World } from "../../protocol/world.ts";
import { ASSET, openTill, PATH, quoteFor } from "../till.ts";

const request = requestBytes(PATH, { model: "rivers", messages: [{ role: "user", content: "Where do rivers flow?" }] });
const resource = { url: "https://operator.example/v1/chat/completions" };

/** Client, resource server and facilitator of `@x402/core`, with our scheme on each side. */
async function trade(t: TestContext, seed: number) {
  const till = await openTill(t, seed);
  const { world, registry } = till.office.customers;
  const { sequencer } = till.office;
  const quote = quoteFor(till, request);
  const network = `eip155:${world.domain.chainId}` as const;
  const facilitator = new x402Facilitator().register(
    network,
    voucherFacilitator({
      domain: world.domain,
      operator: world.operator,
      sequencer,
      channelOf: (channel) => registry.channel(channel),
      requestOf: () => request,
      clock: () => till.time,
    }),
  );
  const server = new x402ResourceServer({
    verify: (payload, requirements) => facilitator.verify(payload, requirements),
    settle: (payload, requirements) => facilitator.settle(payload, requirements),
    getSupported: async () => facilitator.getSupported() as never,
  });
  server.register(network, voucherServer(ASSET));
  await server.initialize();
  const { operator, agent, version, prices } = requirementsOf(quote).extra;
  const accepts = await server.buildPaymentRequirements({
    scheme: "voucher",
    network,
    payTo: world.domain.verifyingContract,
    price: { asset: ASSET, amount: String(quote.maxPrice) },
    maxTimeoutSeconds: quote.voucherLife,
    extra: { operator, agent, version, prices },
  });
  const demand = await server.createPaymentRequiredResponse(accepts, resource);
  const ledger = till.openLedger();
  const client = new x402Client().setSpendControls({ allowedAssets: [{ network, asset: ASSET }] });
  client.register(network, voucherClient({ ledger, request, maxPrice: quote.maxPrice }));
  return { till, quote, facilitator, network, server, demand, ledger, client, world };
}

type Trade = Awaited<ReturnType<typeof trade>>;

/** Another voucher in the same envelope, signed by the channel's key unless another is given. */
function forge(payload: PaymentPayload, world: World, change: Partial<Voucher>, key?: Uint8Array): PaymentPayload {
  const header = encodePaymentSignatureHeader(payload);
  const voucher = { ...decodePaymentSignature(header, world.domain).voucher, ...change };
  const digest = voucherDigest(world.separator, voucher);
  const signature = toHex(signDigest(digest, key ?? world.keys.get(voucher.channel)!));
  const plain = Object.fromEntries(
    Object.entries(voucher).map(([name, value]) => [name, typeof value === "bigint" ? String(value) : value]),
  );
  const onWire = { ...plain, requestHash: toHex(voucher.requestHash) };
  return { ...payload, payload: { ...payload.payload, voucher: onWire, signature } };
}

describe("the voucher scheme under @x402/core", () => {
  it("is asked for, paid, verified and settled by its own client and server", async (t) => {
    const { till, quote, server, demand, ledger, client } = await trade(t, 51);
    const [offer] = demand.accepts;
    assert.deepEqual(offer, requirementsOf(quote), "the server writes the terms as our own gateway does");
    const header = encodePaymentSignatureHeader(await client.createPaymentPayload(demand));
    const payload = decodePaymentSignatureHeader(header);
    const matched = server.findMatchingRequirements(demand.accepts, payload)!;
    assert.deepEqual(matched, offer);
    assert.equal(server.getPaymentFlow(payload, matched), "upfront");
    const settled = await server.settlePayment(payload, matched, undefined, undefined, undefined, "before-handler");
    assert.equal(settled.success, true);
    assert.equal(settled.payer, ledger.sessionKey);
    const outcome = paymentOutcomeOf(settled);
    assert.equal(outcome.state, "accepted");
    assert.equal((await till.office.sequencer.job(outcome.jobId))!.state, "accepted");
    const again = await server.settlePayment(payload, matched);
    assert.deepEqual(again, settled, "a resend is the same job");
    till.office.customers.registry.time += 4_000;
    till.time += 4_000;
    assert.deepEqual(await server.settlePayment(payload, matched), settled, "also after the voucher has expired");
  });

  it("reads prices in OPEN, and knows no other money", async () => {
    const server = voucherServer(ASSET);
    const network = "eip155:31337";
    assert.deepEqual(await server.parsePrice("0.01 OPEN", network), { asset: ASSET, amount: String(10n ** 16n) });
    assert.deepEqual(await server.parsePrice("2", network), { asset: ASSET, amount: String(2n * 10n ** 18n) });
    for (const bad of ["$0.01", "-1", "1 USDC", "", "1e3"]) {
      await assert.rejects(server.parsePrice(bad, network), PaymentError);
    }
  });

  it("signs nothing beyond its limit", async (t) => {
    const { network, demand, ledger, quote } = await trade(t, 52);
    const client = new x402Client().setSpendControls({ allowedAssets: true });
    client.register(network, voucherClient({ ledger, request, maxPrice: quote.maxPrice - 1n }));
    await assert.rejects(client.createPaymentPayload(demand), { code: "priceAboveLimit" });
    assert.equal(ledger.balance().exposure, 0n);
  });
});

describe("attacks on the voucher scheme", () => {
  type Change = Partial<Voucher>;
  const nobody = new Uint8Array(32).fill(3);
  const alone: [string, string, (trade: Trade) => Change, Uint8Array?][] = [
    ["a voucher for another agent", "wrongAgent", () => ({ agent: 1 })],
    ["a voucher for another version", "wrongAgent", () => ({ version: 900 })],
    ["a voucher that allows less than is asked", "priceTooLow", ({ quote }) => ({ maxPrice: quote.maxPrice - 1n })],
    ["a voucher given for another request", "requestMismatch", () => ({ requestHash: new Uint8Array(32) })],
    ["an expired voucher", "expired", ({ till }) => ({ expiry: BigInt(till.time) })],
    ["a voucher that lives too long", "expiryTooFar", ({ till }) => ({ expiry: BigInt(till.time + 3_601) })],
    ["a voucher of another operator's channel", "unknownChannel", ({ world }) => ({ channel: world.foreignChannel })],
    ["a voucher of somebody else's channel", "badSignature", ({ world }) => ({ channel: world.channels[1] }), nobody],
    ["a forged signature", "badSignature", () => ({}), nobody],
  ];
  for (const [name, reason, change, key] of alone) {
    it(`${name} is neither verified nor settled`, async (t) => {
      const made = await trade(t, 53);
      const { facilitator, demand, client, world, till } = made;
      const [offer] = demand.accepts;
      const honest = await client.createPaymentPayload(demand);
      assert.equal((await facilitator.verify(honest, offer)).isValid, true);
      const forged = forge(honest, world, change(made), key);
      const { isValid, invalidReason } = await facilitator.verify(forged, offer);
      assert.deepEqual([isValid, invalidReason], [false, reason]);
      const { success, errorReason } = await facilitator.settle(forged, offer);
      assert.deepEqual([success, errorReason], [false, reason]);
      assert.equal((await till.office.sequencer.channel(till.channel)).reserved, 0n);
    });
  }

  const againstBooks: [string, string, (trade: Trade) => Change][] = [
    ["a nonce that is used twice", "nonceUsed", () => ({ cap: 10n ** 20n })],
    ["a cap that does not cover what is in flight", "capTooLow", () => ({ nonce: 2n })],
    ["a cap beyond the deposit", "capAboveDeposit", () => ({ nonce: 2n, cap: 10n ** 24n })],
    ["a nonce too far from the others", "nonceTooFar", () => ({ nonce: 257n, cap: 10n ** 20n })],
  ];
  for (const [name, reason, change] of againstBooks) {
    it(`${name} is not settled`, async (t) => {
      const made = await trade(t, 54);
      const { facilitator, demand, client, world, till } = made;
      const [offer] = demand.accepts;
      const honest = await client.createPaymentPayload(demand);
      assert.equal((await facilitator.settle(honest, offer)).success, true);
      const { reserved } = await till.office.sequencer.channel(till.channel);
      const { expiry } = decodePaymentSignature(encodePaymentSignatureHeader(honest), world.domain).voucher;
      const forged = forge(honest, world, { ...change(made), expiry: expiry - 1n });
      const { success, errorReason } = await facilitator.settle(forged, offer);
      assert.deepEqual([success, errorReason], [false, reason]);
      assert.equal((await till.office.sequencer.channel(till.channel)).reserved, reserved);
    });
  }

  it("bytes that are no voucher are refused with a reason", async (t) => {
    const { facilitator, demand, client } = await trade(t, 55);
    const [offer] = demand.accepts;
    const honest = await client.createPaymentPayload(demand);
    for (const payload of [{}, { voucher: 1 }, { ...honest.payload, signature: "0x" }]) {
      const verified = await facilitator.verify({ ...honest, payload }, offer);
      assert.deepEqual([verified.isValid, verified.invalidReason], [false, "malformed"]);
    }
  });
});
