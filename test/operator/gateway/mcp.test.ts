import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { CHAT_PATH } from "../../../operator/api/inference-request.ts";
import { quoteOf, requirementsOf } from "../../../operator/payments/x402/payment-required.ts";
import { decodePaymentSignature, schemePayload } from "../../../operator/payments/x402/payment-signature.ts";
import { MortalRedis } from "../queue/plant.ts";
import { TestNode } from "./open-node.ts";

let redis: MortalRedis;
let node: TestNode;
let client: Client;
before(async () => {
  redis = await MortalRedis.start();
  node = await TestNode.open(redis, {
    searchDataNets: async ({ query, limit }) =>
      [{ data_net: 1, version: 1, contribution: 2, path: "a.md", text: query, score: 1 }].slice(0, limit),
  });
  client = new Client({ name: "test", version: "1" });
  await client.connect(new StreamableHTTPClientTransport(new URL(`${node.url}/mcp`)));
});
after(async () => {
  await client?.close();
  await node?.close();
  await redis?.stop();
});

interface Told {
  isError?: boolean;
  structuredContent: Record<string, never>;
  content: { text: string }[];
  _meta?: Record<string, never>;
}
const call = async (name: string, given: object = {}, meta?: object) =>
  (await client.callTool({ name, arguments: { ...given }, ...(meta && { _meta: { ...meta } }) })) as unknown as Told;
const question = () => ({ model: node.model, messages: [{ role: "user", content: "one two three" }] });

describe("the node as an MCP server", () => {
  it("does not answer web pages that nobody allowed, whatever name they give this machine", async () => {
    const message = { jsonrpc: "2.0", id: 1, method: "tools/call", params: { name: "list_agents", arguments: {} } };
    const headers = { accept: "application/json, text/event-stream", origin: "http://rebound.example" };
    assert.equal((await node.post("/mcp", message, headers)).status, 403);
  });

  it("offers its tools", async () => {
    const { tools } = await client.listTools();
    assert.deepEqual(tools.map(({ name }) => name).toSorted(), [
      "ask_agent",
      "list_agents",
      "search_datanets",
      "show_job",
      "show_trace",
    ]);
  });

  it("lists agents and searches DataNets", async () => {
    const { structuredContent } = await call("list_agents");
    assert.equal((structuredContent.agents as unknown[]).length, node.world.registry.agents.size);
    const found = await call("search_datanets", { query: "rivers" });
    assert.equal((found.structuredContent.passages as { text: string }[])[0].text, "rivers");
  });

  it("gives terms for an unpaid question and the answer for a paid one, which can be looked up", async () => {
    const unpaid = await call("ask_agent", question());
    assert.equal(unpaid.isError, true);
    assert.deepEqual(JSON.parse(unpaid.content[0].text), unpaid.structuredContent);
    const quote = quoteOf((unpaid.structuredContent.accepts as object[])[0]);
    const { payment } = node.sign(CHAT_PATH, question(), { maxPrice: quote.maxPrice, cap: quote.maxPrice });
    const payload = { x402Version: 2, accepted: requirementsOf(quote), payload: schemePayload(payment) };
    const paid = await call("ask_agent", question(), { "x402/payment": payload });
    assert.equal(paid.isError, undefined, paid.content[0].text);
    assert.equal(paid.content[0].text, "three two one");
    const { transaction, success } = paid._meta!["x402/payment-response"] as { transaction: string; success: boolean };
    assert.equal(success, true);

    const again = await call("ask_agent", { ...question(), payment: payload });
    assert.deepEqual(again.structuredContent, paid.structuredContent);
    const job = await call("show_job", { job_id: transaction });
    assert.equal(job.structuredContent.state, "completed");
    const trace = await call("show_trace", { job_id: transaction, salt: payment.salt });
    assert.deepEqual(trace.structuredContent.trace, { format: 1, question: "one two three" });
    const curious = await call("show_trace", { job_id: transaction, salt: `0x${"1".repeat(64)}` });
    assert.equal(curious.isError, true);
  });

  it("refuses a forged payment with the terms and the reason", async () => {
    const { header } = node.sign(
      CHAT_PATH,
      question(),
      { nonce: 9n },
      Uint8Array.from({ length: 32 }, () => 9),
    );
    const payment = decodePaymentSignature(header, node.world.domain);
    const accepted = requirementsOf(node.quote(payment.voucher.maxPrice));
    const payload = { x402Version: 2, accepted, payload: schemePayload(payment) };
    const refused = await call("ask_agent", { ...question(), payment: payload });
    assert.deepEqual([refused.isError, refused.structuredContent.error], [true, "badSignature"]);
  });

  it("refuses a message of a million members before any schema reads it", async () => {
    const headers = { accept: "application/json, text/event-stream" };
    const ask = (given: object) => ({
      jsonrpc: "2.0",
      id: 1,
      method: "tools/call",
      params: { name: "ask_agent", arguments: { ...question(), ...given } },
    });
    const keys = Object.fromEntries(Array.from({ length: 100_000 }, (_, i) => [`k${i}`, 1]));
    for (const given of [{ messages: Array(1_000_000).fill(1) }, { payment: keys }, keys]) {
      const response = await node.post("/mcp", ask(given), headers);
      assert.equal(response.status, 413);
      assert.match(await response.text(), /"code":"request_too_large"/);
    }
    const broken = await node.post("/mcp", "{", headers);
    assert.equal(broken.status, 400);
  });

  it("tells in OpenAI's shape what else is wrong", async () => {
    const wrong = await call("ask_agent", { ...question(), temperature: 9 });
    assert.equal((wrong.structuredContent.error as { param: string }).param, "temperature");
  });
});
