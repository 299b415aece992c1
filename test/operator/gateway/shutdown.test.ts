import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { CHAT_PATH } from "../../../operator/api/inference-request.ts";
import { createApp } from "../../../operator/gateway/app.ts";
import { Gateway } from "../../../operator/gateway/gateway.ts";
import type { GatewayOptions } from "../../../operator/gateway/gateway-options.ts";
import { MortalRedis, until } from "../queue/plant.ts";
import { TestNode } from "./open-node.ts";

let redis: MortalRedis;
before(async () => {
  redis = await MortalRedis.start();
});
after(() => redis?.stop());

/** A node with one stream under way. */
async function streaming(content: string) {
  const node = await TestNode.open(redis);
  const body = { model: node.model, messages: [{ role: "user", content }], stream: true };
  const { header } = node.sign(CHAT_PATH, body);
  const response = await node.post(CHAT_PATH, body, { "PAYMENT-SIGNATURE": header });
  return { node, response, jobId: response.headers.get("x-openledger-job") as `0x${string}` };
}

describe("a gateway that closes", () => {
  it("lets a stream end that is under way, and takes nothing new", async () => {
    const { node, response } = await streaming("SLOW one two three four five");
    const closing = node.gateway.close(20_000);
    assert.match(await response.text(), /\[DONE\]/);
    await closing;
    await assert.rejects(node.post(CHAT_PATH, {}));
    await node.close();
  });

  it("takes no more questions by either way, though a connection is still there", async () => {
    const gateway = new Gateway({} as GatewayOptions);
    gateway.isDraining = true;
    const app = createApp(gateway);
    const outgoing = { setTimeout: () => undefined };
    for (const path of [CHAT_PATH, "/mcp"]) {
      const response = await app.request(path, { method: "POST" }, { outgoing } as never);
      assert.deepEqual([response.status, response.headers.get("connection")], [503, "close"], path);
    }
  });

  it("cuts a stream that takes too long, and its job goes on to its end", async () => {
    const { node, response, jobId } = await streaming("SLOW LONG story");
    const broken = assert.rejects(response.text());
    await node.gateway.close(50);
    await broken;
    await until(async () => (await node.plant.state(jobId)) === "completed");
    const { response: stored } = (await node.sequencer.job(jobId))!;
    assert.match(new TextDecoder().decode(stored), /word399/);
    await node.close();
  });
});
