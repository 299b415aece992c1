import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { CHAT_PATH, COMPLETION_PATH } from "../../../operator/api/inference-request.ts";
import { decodePaymentRequired } from "../../../operator/payments/x402/payment-required.ts";
import { decodePaymentResponse } from "../../../operator/payments/x402/payment-response.ts";
import { MortalRedis, until } from "../queue/plant.ts";
import { TestNode } from "./open-node.ts";

let redis: MortalRedis;
let node: TestNode;
before(async () => {
  redis = await MortalRedis.start();
  node = await TestNode.open(redis);
});
after(async () => {
  await node?.close();
  await redis?.stop();
});

let asked = 0;
/** A request like no other, so that no voucher fits two. */
const chat = (content = `number ${asked++}`, more: object = {}) => ({
  model: node.model,
  messages: [{ role: "user", content }],
  ...more,
});
const paid = (header: string) => ({ "PAYMENT-SIGNATURE": header });
const errorOf = async (response: Response) => {
  const { error } = (await response.json()) as { error: { code: string; message: string; param: string | null } };
  return { status: response.status, ...error };
};
const charged = async (channel: number) => (await node.sequencer.channel(channel)).charged;

describe("a request without payment", () => {
  it("is answered with terms that a voucher can be signed for, and nothing is stored", async () => {
    const response = await node.post(CHAT_PATH, chat("hello", { max_tokens: 100 }));
    assert.equal(response.status, 402);
    assert.equal(response.headers.get("cache-control"), "no-store");
    const { quote, error } = decodePaymentRequired(response.headers.get("PAYMENT-REQUIRED")!, node.world.domain);
    assert.equal(error, undefined);
    assert.deepEqual([quote.terms.agent, quote.terms.version], Object.values(node.world.agents[0]));
    // 2 tokens of "hello", 8 around it, 2,048 for what is retrieved, 100 for the answer.
    assert.equal(quote.maxPrice, 10n ** 15n + 2_058n * 10n ** 12n + 100n * 3n * 10n ** 12n);
    assert.equal(quote.statement, undefined);
  });

  it("that names its channel gets the channel's statement", async () => {
    const [, , channel] = node.world.channels;
    const response = await node.post(CHAT_PATH, chat(), { "x-openledger-channel": `${channel}` });
    const { quote } = decodePaymentRequired(response.headers.get("PAYMENT-REQUIRED")!, node.world.domain);
    assert.equal(quote.statement!.channel, channel);
    assert.equal(quote.statement!.requiredCap, quote.maxPrice);
  });

  it("is refused before any terms when it could not be answered", async () => {
    assert.equal((await node.post(CHAT_PATH, chat("x", { n: 2 }))).status, 400);
    assert.equal((await node.post(CHAT_PATH, chat("x", { model: "nobody" }))).status, 404);
  });
});

describe("a voucher", () => {
  const [EXPIRED, FAR] = [-1, 3_700];
  const refusals: [string, string, () => ReturnType<TestNode["sign"]> & { body: object }][] = [
    [
      "badSignature",
      "is not signed by the session key",
      () =>
        signed(
          {},
          Uint8Array.from({ length: 32 }, () => 7),
        ),
    ],
    ["expired", "has run out", () => signed({ expiry: BigInt(node.plant.now + EXPIRED) })],
    ["expiryTooFar", "lives too long", () => signed({ expiry: BigInt(node.plant.now + FAR) })],
    ["capTooLow", "has a cap below what it costs", () => signed({ cap: 5n })],
    ["capAboveDeposit", "has a cap above the deposit", () => signed({ cap: 10n ** 30n })],
    ["wrongAgent", "is for another version", () => signed({ agent: node.world.agents[0].agent, version: 77 })],
    ["wrongAgent", "is for another agent", () => signed({ agent: 999_999 })],
    ["priceTooLow", "would not pay for a few words", () => signed({ maxPrice: 10n ** 15n })],
    ["unknownChannel", "is of another operator's channel", () => signed({ channel: node.world.foreignChannel })],
    ["unknownChannel", "is of no channel", () => ({ ...signed({}), ...withChannel(4_000_000) })],
    ["requestMismatch", "is for another request", () => ({ ...signed({}), body: chat("another question") })],
  ];
  function signed(bend: Parameters<TestNode["sign"]>[2], key?: Uint8Array) {
    const body = chat();
    return { ...node.sign(CHAT_PATH, body, { channel: node.world.channels[3], ...bend }, key), body };
  }
  function withChannel(channel: number) {
    const body = chat();
    return { ...node.sign(CHAT_PATH, body, { channel }, node.world.keys.get(1)!), body };
  }

  for (const [code, why, make] of refusals) {
    it(`that ${why} is refused as ${code}, with terms, statement and what to do`, async () => {
      const { header, body, payment } = make();
      const before = await charged(node.world.channels[3]);
      const response = await node.post(CHAT_PATH, body, paid(header));
      const terms = decodePaymentRequired(response.headers.get("PAYMENT-REQUIRED")!, node.world.domain);
      const error = await errorOf(response);
      assert.deepEqual([error.status, error.code, terms.error], [402, code, code]);
      assert.match(error.message, /\. (Sign|Deposit|Open|Check|There)|The voucher|no such/);
      if (code !== "unknownChannel") assert.equal(terms.quote.statement!.channel, payment.voucher.channel);
      const { charged: after, reserved } = await node.sequencer.channel(node.world.channels[3]);
      assert.deepEqual([after, reserved], [before, 0n]);
    });
  }

  it("that is no voucher is refused as such", async () => {
    const { header } = node.sign(CHAT_PATH, chat());
    const nonsense = [
      "",
      "####",
      "e30=",
      Buffer.from("null").toString("base64"),
      header.slice(0, -9),
      "A".repeat(15_500),
    ];
    for (const value of nonsense) {
      const response = await node.post(CHAT_PATH, chat(), paid(value));
      const { status, code } = await errorOf(response);
      assert.deepEqual([status, code], [400, "invalid_payment"], value.slice(0, 20));
    }
  });

  it("sent again gives the same answer and is charged once, whether whole or streamed", async () => {
    const channel = node.world.channels[1];
    const body = chat("again and again");
    const { header } = node.sign(CHAT_PATH, body, { channel, nonce: 40n });
    const before = await charged(channel);
    const first = await node.post(CHAT_PATH, body, paid(header));
    const outcome = decodePaymentResponse(first.headers.get("PAYMENT-RESPONSE")!);
    assert.ok(outcome.state === "completed");
    const answer = await first.json();
    const second = await node.post(CHAT_PATH, body, paid(header));
    assert.deepEqual(await second.json(), answer);
    assert.deepEqual(decodePaymentResponse(second.headers.get("PAYMENT-RESPONSE")!), outcome);
    assert.equal(await charged(channel), before + outcome.charge.price);
  });

  it("sent again while its job runs joins the stream from the start", async () => {
    const channel = node.world.channels[1];
    const body = chat("SLOW one two three four five six seven eight", { stream: true });
    const { header } = node.sign(CHAT_PATH, body, { channel, nonce: 41n, cap: 10n ** 17n });
    const one = await node.post(CHAT_PATH, body, paid(header));
    const other = await node.post(CHAT_PATH, body, paid(header));
    assert.equal(one.headers.get("x-openledger-job"), other.headers.get("x-openledger-job"));
    const [text, same] = await Promise.all([one.text(), other.text()]);
    assert.match(text, /\[DONE\]/);
    assert.equal(withoutPulses(same), withoutPulses(text));
    const late = await (await node.post(CHAT_PATH, body, paid(header))).text();
    assert.match(late, /"content":"eight seven six five four three two one SLOW"/);
    assert.match(late, /\[DONE\]/);
  });

  it("for one path does not pay for another", async () => {
    const body = { model: node.model, prompt: "x", messages: [{ role: "user", content: "x" }] };
    const { header } = node.sign(CHAT_PATH, body, { nonce: 50n, channel: node.world.channels[3] });
    const error = await errorOf(await node.post(COMPLETION_PATH, body, paid(header)));
    assert.equal(error.code, "requestMismatch");
  });
});

describe("a job", () => {
  it("that fails is not charged, says so, and says so again", async () => {
    const channel = node.world.channels[2];
    const body = chat("FAIL this");
    const { header } = node.sign(CHAT_PATH, body, { channel });
    for (const _ of [1, 2]) {
      const response = await node.post(CHAT_PATH, body, paid(header));
      const outcome = decodePaymentResponse(response.headers.get("PAYMENT-RESPONSE")!);
      assert.equal(outcome.state, "failed");
      const { status, code } = await errorOf(response);
      assert.deepEqual([status, code], [400, "promptTooLong"]);
    }
    const { charged, reserved } = await node.sequencer.channel(channel);
    assert.deepEqual([charged, reserved], [0n, 0n]);
  });

  it("whose client leaves mid-stream is charged for what was generated until then", async () => {
    const channel = node.world.channels[2];
    const body = chat("SLOW LONG story", { stream: true });
    const { header } = node.sign(CHAT_PATH, body, { channel, nonce: 2n });
    const leaving = new AbortController();
    const response = await node.post(CHAT_PATH, body, paid(header), leaving.signal);
    const jobId = response.headers.get("x-openledger-job") as `0x${string}`;
    const reader = response.body!.getReader();
    for (let text = ""; !text.includes("word3"); ) text += new TextDecoder().decode((await reader.read()).value);
    leaving.abort();
    await until(async () => (await node.plant.state(jobId)) === "completed");
    const job = await node.get<Record<string, never>>(`/v1/jobs/${jobId}`);
    const { completion_tokens } = job.attribution as { completion_tokens: number };
    assert.ok(completion_tokens >= 4 && completion_tokens < 300, `${completion_tokens} tokens`);
    assert.equal(await charged(channel), BigInt((job.attribution as { price: string }).price));
  });

  it("whose client leaves does not end while another still listens", async () => {
    const channel = node.world.channels[2];
    const body = chat("SLOW one two three four five six seven eight nine ten", { stream: true });
    const { header } = node.sign(CHAT_PATH, body, { channel, nonce: 3n, cap: 10n ** 17n });
    const leaving = new AbortController();
    const one = await node.post(CHAT_PATH, body, paid(header), leaving.signal);
    const other = await node.post(CHAT_PATH, body, paid(header));
    await one.body!.getReader().read();
    leaving.abort();
    assert.match(await other.text(), /"finish_reason":"stop"/);
  });
});

const withoutPulses = (text: string) => text.replaceAll(": still working\n\n", "");
