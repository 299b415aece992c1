import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { after, before, describe, it } from "node:test";
import { CHAT_PATH, COMPLETION_PATH } from "../../../operator/api/inference-request.ts";
import { diceOf } from "../protocol/dice.ts";
import { MortalRedis, until } from "../queue/plant.ts";
import { TestNode } from "./open-node.ts";

let redis: MortalRedis;
let node: TestNode;
before(async () => {
  redis = await MortalRedis.start();
  const limits = {
    bodyBytes: 100_000,
    headersMs: 3_000,
    requestMs: 6_000,
    unreadMs: 700,
    pulseMs: 200,
    requestsPerChannel: 2,
  };
  node = await TestNode.open(redis, { limits });
});
after(async () => {
  await node?.close();
  await redis?.stop();
});

const chat = (content: string, more: object = {}) => ({
  model: node.model,
  messages: [{ role: "user", content }],
  ...more,
});
const paid = (header: string) => ({ "PAYMENT-SIGNATURE": header });
let nonce = 100n;
const signed = (body: object, channel = node.world.channels[4]) =>
  paid(node.sign(CHAT_PATH, body, { channel, nonce: nonce++, cap: 10n ** 18n }).header);

/** Sends text over a bare connection and collects what comes back. */
async function dial(...lines: string[]): Promise<Socket & { heard: () => string }> {
  const { hostname, port } = new URL(node.url);
  const socket = connect(Number(port), hostname);
  await once(socket, "connect");
  let heard = "";
  socket.on("data", (data) => {
    heard += data;
  });
  socket.on("error", () => undefined);
  socket.write(lines.join("\r\n"));
  return Object.assign(socket, { heard: () => heard });
}

describe("a client that asks too much", () => {
  it("is stopped while its body comes in, whether it says the length or not", async () => {
    const big = JSON.stringify(chat("x".repeat(50_000_000)));
    const announced = await node.post(CHAT_PATH, big).catch((error) => error);
    // A connection may break while the client still writes; what came back first is the answer.
    if (announced instanceof Response) {
      assert.equal(announced.status, 413);
      const { error } = (await announced.json()) as { error: { code: string } };
      assert.equal(error.code, "request_too_large");
    }
    const socket = await dial(`POST ${CHAT_PATH} HTTP/1.1`, "host: x", "transfer-encoding: chunked", "", "");
    let written = 0;
    const chunk = `ffff\r\n${"y".repeat(0xffff)}\r\n`;
    while (!socket.destroyed && written < 50_000_000) {
      if (!socket.write(chunk))
        await Promise.race([once(socket, "drain"), once(socket, "close")]).catch(() => undefined);
      written += chunk.length;
    }
    assert.match(socket.heard(), /^HTTP\/1.1 413 /);
    assert.ok(written < 20_000_000, `${written} bytes were taken`);
    assert.equal((await node.post(CHAT_PATH, chat("hello"))).status, 402);
  });

  it("gets 413 for a body just over the limit, and an answer for one just below", async () => {
    const over = chat("");
    over.messages[0].content = "x".repeat(100_001 - JSON.stringify(over).length);
    const response = await node.post(CHAT_PATH, over);
    assert.equal(response.status, 413);
    over.messages[0].content = over.messages[0].content.slice(1);
    assert.equal((await node.post(CHAT_PATH, over)).status, 402);
  });

  it("gets 400 for a body nested too deep", async () => {
    const deep = `${'{"a":'.repeat(5_000)}1${"}".repeat(5_000)}`;
    const text = JSON.stringify(chat("x", { metadata: "HERE" })).replace('"HERE"', deep);
    const response = await node.post(CHAT_PATH, text);
    assert.equal(response.status, 400);
  });

  it("gets 429 above its channel's places, and its places back afterwards", async () => {
    const bodies = [1, 2, 3].map((i) => chat(`SLOW one two three four five six ${i}`, { stream: true }));
    const [one, two] = await Promise.all(bodies.slice(0, 2).map((body) => node.post(CHAT_PATH, body, signed(body))));
    const third = await node.post(CHAT_PATH, bodies[2], signed(bodies[2]));
    assert.equal(third.status, 429);
    assert.equal(third.headers.get("retry-after"), "1");
    const { error } = (await third.json()) as { error: { type: string } };
    assert.equal(error.type, "rate_limit_error");
    await Promise.all([one.text(), two.text()]);
    const body = chat("afterwards");
    assert.equal((await node.post(CHAT_PATH, body, signed(body))).status, 200);
  });
});

describe("a client that is slow on purpose", () => {
  it("is cut off when its headers do not come", async () => {
    const socket = await dial(`POST ${CHAT_PATH} HTTP/1.1`, "host: x", "x-slow: ");
    await once(socket, "close");
    assert.match(socket.heard(), /^HTTP\/1.1 408 /);
  });

  it("is cut off when its body does not come", async () => {
    const socket = await dial(`POST ${CHAT_PATH} HTTP/1.1`, "host: x", "content-length: 1000", "", '{"model":');
    await once(socket, "close");
    assert.doesNotMatch(socket.heard(), / 200 /);
  });

  it("is cut off when it does not read its stream, and charged for what was generated", {
    timeout: 60_000,
  }, async () => {
    // 24 MB, so that what is not read does not fit the system's buffers.
    const body = chat("SLOW LONG LOUD story", { stream: true });
    const header = signed(body);
    const text = JSON.stringify(body);
    const socket = await dial(
      `POST ${CHAT_PATH} HTTP/1.1`,
      "host: x",
      `payment-signature: ${header["PAYMENT-SIGNATURE"]}`,
      `content-length: ${Buffer.byteLength(text)}`,
      "",
      text,
    );
    await until(() => socket.heard().includes("word1"));
    const [, jobId] = /x-openledger-job: (\w+)/i.exec(socket.heard())!;
    socket.pause();
    await until(async () => (await node.plant.state(jobId as `0x${string}`)) === "completed");
    const job = await node.get<{ attribution: { completion_tokens: number } }>(`/v1/jobs/${jobId}`);
    assert.ok(job.attribution.completion_tokens < 390, `${job.attribution.completion_tokens} of 400 words`);
    socket.destroy();
  });
});

describe("ten thousand malformed requests", () => {
  const dice = diceOf(2026);
  const good = () => ({
    model: node.model,
    messages: [{ role: "user", content: "hello there" }],
    temperature: 1,
    max_tokens: 5,
    stop: ["x"],
    response_format: { type: "json_schema", json_schema: { name: "x", schema: {} } },
    logit_bias: { "5": 1 },
  });
  const JUNK = [null, true, -1, 1e308, "", "\u0000", "x".repeat(300), [], {}, [[[]]], { a: { b: [] } }, "__proto__"];

  /** Changes one place of a value, anywhere. */
  function mutated(value: unknown): unknown {
    if (typeof value !== "object" || value === null || dice.chance(0.15)) return dice.pick(JUNK);
    const keys = Object.keys(value);
    if (keys.length === 0) return dice.pick(JUNK);
    const key = dice.pick(keys);
    const copy: Record<string, unknown> = Array.isArray(value) ? ([...value] as never) : { ...value };
    if (dice.chance(0.1)) delete copy[key];
    else copy[key] = mutated(copy[key]);
    return copy;
  }

  /** Changes some characters. */
  function garbled(text: string): string {
    const at = dice.below(text.length);
    return dice.pick([
      text.slice(0, at),
      text.slice(0, at) + String.fromCharCode(dice.below(0x3000)) + text.slice(at + 1),
      text.slice(at),
      text + text.slice(0, at),
    ]);
  }

  // With its usual limits: on a busy machine an honest request takes longer than those above allow.
  let node: TestNode;
  before(async () => {
    node = await TestNode.open(redis);
  });
  after(() => node?.close());

  it("get no 5xx, reveal nothing of the inside, and leave the node serving", { timeout: 300_000 }, async () => {
    const statuses = new Map<number, number>();
    const headerOf = node.sign(CHAT_PATH, good(), { channel: node.world.channels[5] }).header;
    const paths = [CHAT_PATH, CHAT_PATH, COMPLETION_PATH, "/mcp", `/v1/jobs/${"0".repeat(9)}`, "/v1/channels/-1", "/%"];
    const sendOne = async () => {
      const path = dice.pick(paths);
      const body = dice.chance(0.5) ? JSON.stringify(mutated(good())) : garbled(JSON.stringify(good()));
      const headers: Record<string, string> = dice.chance(0.7) ? { "content-type": "application/json" } : {};
      if (dice.chance(0.5)) {
        const garbledHeader = garbled(headerOf).replace(/[^\x20-\x7e]/g, "~");
        headers["PAYMENT-SIGNATURE"] = dice.chance(0.2) ? headerOf : garbledHeader;
      }
      if (dice.chance(0.2))
        headers["x-openledger-channel"] = dice.pick(["7;since=", "-1", "4294967296", "9;since=9", "x"]);
      const method = dice.chance(0.9) ? "POST" : dice.pick(["PUT", "DELETE", "PATCH", "OPTIONS"]);
      const response = await fetch(`${node.url}${path}`, { method, headers, body });
      const text = await response.text();
      statuses.set(response.status, (statuses.get(response.status) ?? 0) + 1);
      // "Not now" is an honest answer of a machine so busy that its Redis takes seconds; anything else is a fault.
      const isBusy = response.status === 503 && response.headers.has("retry-after");
      assert.ok(response.status < 500 || isBusy, `${response.status} for ${method} ${path} ${body}: ${text}`);
      assert.doesNotMatch(text, /node_modules|\.ts:\d|\bat .+\(/, text);
      if (response.status >= 400 && path !== "/mcp") assert.ok(JSON.parse(text).error.message.length > 0, text);
    };
    for (let i = 0; i < 10_000; i += 8) await Promise.all(Array.from({ length: 8 }, sendOne));
    assert.deepEqual(node.errors, []);
    for (const status of [400, 402, 404, 405]) assert.ok(statuses.has(status), `no ${status}`);
    const body = chat("still there");
    const { header } = node.sign(CHAT_PATH, body, { channel: node.world.channels[4] });
    const answer = await node.post(CHAT_PATH, body, paid(header));
    assert.equal(answer.status, 200);
    const metrics = await (await fetch(`${node.url}/metrics`)).text();
    assert.match(metrics, /^openledger_requests_in_flight [01]$/m);
  });
});
