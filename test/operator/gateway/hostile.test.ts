import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { CHAT_PATH } from "../../../operator/api/inference-request.ts";
import { decodePaymentResponse } from "../../../operator/payments/x402/payment-response.ts";
import { encodeComposition } from "../../../operator/protocol/composition.ts";
import { MortalRedis, until } from "../queue/plant.ts";
import { TestNode } from "./open-node.ts";

const held = Promise.withResolvers<void>();
let holding = 0;

let redis: MortalRedis;
let node: TestNode;
before(async () => {
  redis = await MortalRedis.start();
  node = await TestNode.open(redis, {
    limits: { requestsPerChannel: 2 },
    countTokens: async (text) => {
      if (text.includes("HOLD")) {
        holding++;
        await held.promise;
      }
      return text.length;
    },
  });
});
after(async () => {
  held.resolve();
  await node?.close();
  await redis?.stop();
});

const chat = (content: string, model = node.model) => ({ model, messages: [{ role: "user", content }] });
const paid = (header: string) => ({ "PAYMENT-SIGNATURE": header });

describe("a stranger who names somebody's channel", () => {
  it("takes none of the channel's places", async () => {
    const [channel] = node.world.channels;
    const ownKey = Uint8Array.from({ length: 32 }, () => 9);
    const bodies = [1, 2].map((i) => chat(`HOLD ${i}`));
    const strangers = bodies.map((body) =>
      node.post(CHAT_PATH, body, paid(node.sign(CHAT_PATH, body, { channel }, ownKey).header)),
    );
    await until(() => holding === bodies.length);
    const body = chat("the payer");
    const answer = await node.post(CHAT_PATH, body, paid(node.sign(CHAT_PATH, body, { channel }).header));
    assert.equal(answer.status, 200);
    held.resolve();
    for (const stranger of await Promise.all(strangers)) assert.equal(stranger.status, 402);
  });
});

describe("a voucher sent again", () => {
  it("gives its answer though the agent's prices have risen since: refused, its payer would pay twice", async () => {
    const { world } = node;
    const { agent } = world.agents[0];
    const versions = world.registry.agents.get(agent)!;
    const publish = (pricePerJob: bigint) => {
      const composition = encodeComposition({ ...versions[0].composition, pricePerJob });
      world.registry.perform({
        kind: "publishAgent",
        time: versions[0].publishedAt,
        agent,
        version: versions.length + 1,
        composition,
      });
      return versions.length;
    };
    const channel = world.channels[1];
    const version = publish(versions[0].composition.pricePerJob);
    const body = chat("before the rise", `agent-${agent}`);
    const { header } = node.sign(CHAT_PATH, body, { channel, version });
    const first = await node.post(CHAT_PATH, body, paid(header));
    assert.equal(first.status, 200);
    const dear = publish(10n ** 17n);
    const fresh = chat("after the rise", `agent-${agent}`);
    const cheap = node.sign(CHAT_PATH, fresh, { channel, nonce: 2n, version: dear, cap: 10n ** 17n });
    assert.equal((await node.post(CHAT_PATH, fresh, paid(cheap.header))).status, 402);
    const second = await node.post(CHAT_PATH, body, paid(header));
    assert.equal(second.status, 200);
    assert.deepEqual(await second.json(), await first.json());
  });

  it("after its answer was emptied from the books is told so, with its receipt", async () => {
    const channel = node.world.channels[2];
    const body = chat("long ago");
    const { header, payment } = node.sign(CHAT_PATH, body, { channel });
    const first = await node.post(CHAT_PATH, body, paid(header));
    const outcome = decodePaymentResponse(first.headers.get("PAYMENT-RESPONSE")!);
    await node.seal();
    node.plant.office.journal.prune(0, Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER, 1_000);
    const again = await node.post(CHAT_PATH, body, paid(header));
    assert.equal(again.status, 410);
    assert.deepEqual(decodePaymentResponse(again.headers.get("PAYMENT-RESPONSE")!), outcome);
    const salt = { "x-openledger-salt": payment.salt };
    const job = await node.get(`/v1/jobs/${first.headers.get("x-openledger-job")}`, salt);
    assert.deepEqual([job.state, job.request, job.answer], ["completed", undefined, undefined]);
    assert.deepEqual(node.errors, []);
  });
});
