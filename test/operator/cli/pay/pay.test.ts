import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import OpenAI from "openai";
import { earnerLines } from "../../../../operator/cli/pay/outcome-lines.ts";
import { serveProxy } from "../../../../operator/cli/pay/proxy-server.ts";
import { payingFetch } from "../../../../operator/payments/paying-fetch.ts";
import { toHex } from "../../../../operator/protocol/bytes.ts";
import { openTill, PATH, type Till } from "../../payments/till.ts";

const LAUNCHER = fileURLToPath(new URL("../../../../operator/cli/openledger.js", import.meta.url));
const question = { model: "rivers", messages: [{ role: "user" as const, content: "Where do rivers flow?" }] };

async function localProxy(t: TestContext, seed: number, options: { key?: string; maxPrice?: bigint } = {}) {
  const till = await openTill(t, seed);
  const pay = payingFetch({ ledger: till.openLedger(), maxPricePerRequest: options.maxPrice });
  const proxy = await serveProxy({ operatorUrl: till.url, pay, port: 0, key: options.key });
  t.after(() => proxy.close());
  return { till, proxy };
}

/** What a caller gets that sends just these headers. */
async function statusOf(url: string, headers: Record<string, string>, path = "/v1/models"): Promise<number> {
  const asked = request(`${url}${path}`, { headers });
  asked.end();
  const [response] = await once(asked, "response");
  response.resume();
  return response.statusCode;
}

test("a client that knows nothing of payments is served through the proxy, also in a stream", async (t) => {
  const { till, proxy } = await localProxy(t, 101);
  const client = new OpenAI({ baseURL: `${proxy.url}/v1`, apiKey: "anything" });
  const answer = await client.chat.completions.create(question);
  assert.equal(answer.choices[0].message.content, "Rivers flow downhill.");
  const gate = Promise.withResolvers<void>();
  till.tricks.hold = gate.promise;
  let text = "";
  for await (const chunk of await client.chat.completions.create({ ...question, stream: true })) {
    text += chunk.choices[0].delta.content ?? "";
    if (text === "Rivers flow downhill.") gate.resolve();
  }
  assert.equal(text, "Rivers flow downhill.");
  assert.equal((await till.office.sequencer.channel(till.channel)).receipts.length, 2);
});

test("who may not spend is kept out of the proxy", async (t) => {
  const { till, proxy } = await localProxy(t, 102, { key: "sesame" });
  const authorization = "Bearer sesame";
  assert.equal(await statusOf(proxy.url, { authorization }), 200);
  assert.equal(await statusOf(proxy.url, {}), 401);
  assert.equal(await statusOf(proxy.url, { authorization: "Bearer sesam" }), 401);
  assert.equal(await statusOf(proxy.url, { authorization, origin: "https://evil.example" }), 403);
  assert.equal(await statusOf(proxy.url, { authorization, host: "evil.example" }), 403);
  assert.equal(await statusOf(proxy.url, { authorization, host: "127.0.0.1.evil.example" }), 403);
  assert.equal(await statusOf(proxy.url, { authorization }, "/admin"), 404);
  assert.equal(await statusOf(proxy.url, { authorization }, "/v1/../admin"), 404);
  assert.equal(await statusOf(proxy.url, { authorization }, "/v1/%2e%2e/admin"), 404);
  let forwarded: string | undefined;
  till.tricks.received = ({ headers }) => {
    forwarded = headers.authorization;
    return false;
  };
  const client = new OpenAI({ baseURL: `${proxy.url}/v1`, apiKey: "sesame" });
  await client.chat.completions.create(question);
  assert.equal(forwarded, undefined, "the proxy's key is not the operator's business");
});

test("a payment that cannot be made is said in the words of the API, and not tried again", async (t) => {
  const { till, proxy } = await localProxy(t, 103, { maxPrice: 1n });
  const client = new OpenAI({ baseURL: `${proxy.url}/v1`, apiKey: "anything" });
  await assert.rejects(client.chat.completions.create(question), (error) => {
    assert.ok(error instanceof OpenAI.APIError);
    assert.deepEqual([error.status, error.code], [402, "priceAboveLimit"]);
    return /the limit is/.test(error.message);
  });
  assert.deepEqual(till.requests, { paid: 0, unpaid: 1 });
});

/** The command line, with the till's key, contracts and clock. */
function start(t: TestContext, till: Till, args: string[]): ChildProcess {
  const { world } = till.office.customers;
  const home = mkdtempSync(join(tmpdir(), "openledger-home-"));
  const addresses = join(home, "addresses.json");
  const contracts = { channels: world.domain.verifyingContract };
  writeFileSync(addresses, JSON.stringify({ chainId: Number(world.domain.chainId), contracts }));
  const offset = (till.time - Math.floor(Date.now() / 1_000)) * 1_000;
  const script = `const now = Date.now; Date.now = () => now() + ${offset}`;
  const clock = `data:text/javascript,${encodeURIComponent(script)}`;
  const env = {
    ...process.env,
    OPENLEDGER_HOME: home,
    OPENLEDGER_ADDRESSES: addresses,
    OPENLEDGER_SESSION_KEY: toHex(world.keys.get(till.channel)!),
    NODE_OPTIONS: `--import=${clock}`,
  };
  const common = ["--operator-url", `${till.url}/v1/`, "--channel", `${till.channel}`];
  const child = spawn(process.execPath, [LAUNCHER, ...args, ...common], { env, stdio: ["ignore", "pipe", "pipe"] });
  t.after(() => {
    child.kill("SIGKILL");
    rmSync(home, { recursive: true });
  });
  return child;
}

const textOf = (stream: NodeJS.ReadableStream | null) => stream!.setEncoding("utf8") as AsyncIterable<string>;

async function collected(stream: AsyncIterable<string>): Promise<string> {
  let text = "";
  for await (const piece of stream) text += piece;
  return text;
}

test("openledger chat prints the answer, what it cost and which job it was", async (t) => {
  const till = await openTill(t, 104);
  const child = start(t, till, ["chat", "--model", "rivers", "Where do rivers flow?"]);
  const [out, err] = await Promise.all([collected(textOf(child.stdout)), collected(textOf(child.stderr))]);
  assert.equal(out, "Rivers flow downhill.\n", err);
  const { receipts } = await till.office.sequencer.channel(till.channel);
  assert.match(err, new RegExp(`rivers {2}0\\.00\\d+ OPEN {2}job ${receipts[0].jobId}`));
  const refused = start(t, till, ["chat", "--model", "rivers", "--max-price", "0.0001", "And now?"]);
  assert.match(await collected(textOf(refused.stderr)), /may cost .* OPEN; the limit is 0.0001/);
  assert.equal(refused.exitCode ?? (await once(refused, "exit"))[0], 1);
});

test("openledger proxy says where it listens and what each job cost, and ends in order", async (t) => {
  const till = await openTill(t, 105);
  const child = start(t, till, ["proxy", "--port", "0", "--json"]);
  let said = "";
  const listening = Promise.withResolvers<string>();
  child.stderr!.setEncoding("utf8").on("data", (piece: string) => {
    said += piece;
    const url = /http:\/\/127\.0\.0\.1:\d+/.exec(said)?.[0];
    if (url !== undefined) listening.resolve(url);
  });
  child.on("exit", () => listening.reject(new Error(said)));
  const url = await listening.promise;
  const out = collected(textOf(child.stdout));
  const body = JSON.stringify(question);
  const response = await fetch(`${url}${PATH}`, { method: "POST", body });
  assert.equal(response.status, 200, said);
  const { id } = (await response.json()) as { id: string };
  child.kill("SIGINT");
  const [code] = child.exitCode === null ? await once(child, "exit") : [child.exitCode];
  assert.equal(code, 0);
  const line = JSON.parse(await out);
  assert.deepEqual([line.job, line.model, line.state, line.price > 0], [id, "rivers", "completed", true]);
});

test("who earned is printed by class and name, whatever else the operator says", () => {
  const amount = String(10n ** 15n);
  const lines = earnerLines({
    publisher: { id: 9, name: "Rivers", amount },
    adapters: [{ id: 4, name: "Hydro\u001b[31mlogy", amount }],
    prompt: null,
    context: [{ id: 3, amount }, { id: 5, amount: "many" }, null, 7],
    operator: amount,
    treasury: "0",
  });
  assert.deepEqual(
    lines.map((line) => line.replace(/ +/g, " ")),
    ["0.001 agent Rivers (9)", "0.001 adapter Hydro[31mlogy (4)", "0.001 data, read 3", "0.001 operator"],
  );
  assert.deepEqual(earnerLines(undefined), []);
});
