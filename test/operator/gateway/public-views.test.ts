import assert from "node:assert/strict";
import { existsSync, readdirSync, readlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { z } from "zod";
import { ANSWER_SCHEMAS } from "../../../operator/api/answer-schemas.ts";
import { CHAT_PATH } from "../../../operator/api/inference-request.ts";
import { createApp } from "../../../operator/gateway/app.ts";
import { Gateway } from "../../../operator/gateway/gateway.ts";
import type { GatewayOptions } from "../../../operator/gateway/gateway-options.ts";
import { decodeBatchData } from "../../../operator/protocol/batch-data.ts";
import { rootFromSiblings } from "../../../operator/protocol/batch-tree.ts";
import { fromHex, toHex } from "../../../operator/protocol/bytes.ts";
import { keccak } from "../../../operator/protocol/keccak.ts";
import { receiptLeaf } from "../../../operator/protocol/receipt.ts";
import { MortalRedis } from "../queue/plant.ts";
import { type HandSigned, TestNode } from "./open-node.ts";

let redis: MortalRedis;
let node: TestNode;
let signed: HandSigned;
let jobId: string;
before(async () => {
  redis = await MortalRedis.start();
  node = await TestNode.open(redis, {
    report: () => ({ alarms: ["A batch waits too long to be posted."], lastSettlement: 1 }),
    cors: ["https://page.example"],
  });
  const body = { model: node.model, messages: [{ role: "user", content: "one two" }] };
  signed = node.sign(CHAT_PATH, body);
  const response = await node.post(CHAT_PATH, body, { "PAYMENT-SIGNATURE": signed.header });
  assert.equal(response.status, 200);
  ANSWER_SCHEMAS.ChatCompletion.parse(await response.json());
  jobId = response.headers.get("x-openledger-job")!;
});
after(async () => {
  await node?.close();
  await redis?.stop();
});

type Job = z.output<typeof ANSWER_SCHEMAS.Job>;
/** Paths of what this process holds open, where the system tells. */
const filesOpen = () => {
  const folder = "/proc/self/fd";
  return (existsSync(folder) ? readdirSync(folder) : []).map((fd) => {
    try {
      return readlinkSync(join(folder, fd));
    } catch {
      return "";
    }
  });
};
const statusOf = async (path: string, headers = {}) => (await fetch(`${node.url}${path}`, { headers })).status;

describe("a job", () => {
  it("shows everybody its receipt and who earned, but no text", async () => {
    const job = ANSWER_SCHEMAS.Job.parse(await node.get(`/v1/jobs/${jobId}`));
    assert.equal(job.state, "completed");
    assert.equal(job.receipt!.decoded.price, job.attribution!.price);
    assert.deepEqual([job.request, job.answer, job.trace, job.proof], [undefined, undefined, undefined, undefined]);
  });

  it("shows question, answer and trace to whoever has the salt, and to nobody else", async () => {
    const headers = { "x-openledger-salt": signed.payment.salt };
    const job = ANSWER_SCHEMAS.Job.parse(await node.get(`/v1/jobs/${jobId}`, headers));
    assert.deepEqual(job.trace, { format: 1, question: "one two" });
    assert.match(JSON.stringify(job.answer), /two one/);
    assert.match(JSON.stringify(job.request), /one two/);
    for (const salt of [`0x${"0".repeat(64)}`, "0x", "nonsense"]) {
      assert.equal(await statusOf(`/v1/jobs/${jobId}`, { "x-openledger-salt": salt }), 403);
    }
  });

  it("has a proof that its receipt is in the batch, once that is sealed", async () => {
    await node.seal();
    const { proof, receipt }: Job = ANSWER_SCHEMAS.Job.parse(await node.get(`/v1/jobs/${jobId}`));
    const body = fromHex(receipt!.body);
    const commitment = { length: body.length, stateRoot: fromHex(receipt!.state_root), bodyHash: keccak(body) };
    const root = rootFromSiblings(receiptLeaf(proof!.index, commitment), proof!.index, proof!.siblings.map(fromHex));
    assert.equal(toHex(root), proof!.batch.receipts_root);
  });

  it("that nobody asked is not there", async () => {
    for (const id of [`0x${"1".repeat(64)}`, "0x12", "x"]) assert.equal(await statusOf(`/v1/jobs/${id}`), 404);
  });
});

describe("batches and channels", () => {
  it("are listed, and a batch's published data hash to its name", async () => {
    const list = ANSWER_SCHEMAS.BatchList.parse(await node.get("/v1/batches"));
    assert.equal(list.data.length, 1);
    const batch = ANSWER_SCHEMAS.Batch.parse(await node.get("/v1/batches/1"));
    assert.deepEqual(batch, list.data[0]);
    const response = await fetch(`${node.url}${batch.data_url}`);
    const data = new Uint8Array(await response.arrayBuffer());
    assert.equal(toHex(keccak(data)), batch.data_hash);
    assert.equal(decodeBatchData(data).receipts.length, 1);
    assert.match(response.headers.get("cache-control")!, /immutable/);
  });

  it("leave no file open when only their headers are asked for", async () => {
    const name = `${"1".repeat(64)}.olbd`;
    const file = join(node.folder, name);
    // More than is read ahead.
    writeFileSync(file, new Uint8Array(1_000_000));
    for (let i = 0; i < 50; i++) {
      const response = await fetch(`${node.url}/published/${name}`, { method: "HEAD" });
      assert.deepEqual([response.status, response.headers.get("content-length")], [200, "1000000"]);
    }
    const open = filesOpen().filter((path) => path === file).length;
    assert.ok(open < 10, `${open} of 50 are open`);
  });

  it("that are not there are not found, whatever the name tries", async () => {
    const names = ["x.olbd", `${"0".repeat(64)}.olbd`, "..%2f..%2fetc%2fpasswd", "%2e%2e/journal.sqlite"];
    for (const name of names) assert.equal(await statusOf(`/published/${name}`), 404, name);
    for (const path of ["/v1/batches/0", "/v1/batches/2", "/v1/channels/x"]) assert.equal(await statusOf(path), 404);
    for (const before of ["x", "", "-1", "0x2", "1e1", "1.5"]) {
      assert.equal(await statusOf(`/v1/batches?before=${before}`), 400, before);
    }
    assert.equal(await statusOf("/v1/channels/1?since=-1"), 400);
  });

  it("show what a channel was charged, from a receipt on", async () => {
    const { channel } = signed.payment.voucher;
    const all = ANSWER_SCHEMAS.Channel.parse(await node.get(`/v1/channels/${channel}`));
    assert.deepEqual(
      all.receipts.map(({ job_id }) => job_id),
      [jobId],
    );
    assert.equal(all.charged, all.receipts[0].decoded.price);
    const later = ANSWER_SCHEMAS.Channel.parse(await node.get(`/v1/channels/${channel}?since=1`));
    assert.deepEqual(later.receipts, []);
  });
});

describe("health and metrics", () => {
  it("say that the node can answer, and what somebody has to look at", async () => {
    const health = ANSWER_SCHEMAS.Health.parse(await node.get("/health"));
    assert.equal(health.status, "ready");
    assert.deepEqual(health.alarms, ["A batch waits too long to be posted."]);
    assert.ok(health.settlement_age_seconds! > 1_000_000);
    assert.equal(await statusOf("/health/live"), 200);
  });

  it("are not ready when the registries' copy is old or the books do not answer", async () => {
    const down = () => Promise.reject(new Error("gone"));
    const registry = { health: () => ({ lastSuccess: Date.now() - 10 * 60_000 }) };
    const parts = { registry, sequencer: { job: down }, queue: { counts: down } } as unknown as GatewayOptions;
    const app = createApp(new Gateway(parts));
    const outgoing = { setTimeout: () => undefined };
    const response = await app.request("/health/ready", {}, { outgoing } as never);
    assert.equal(response.status, 503);
    const { checks } = ANSWER_SCHEMAS.Health.parse(await response.json());
    assert.deepEqual([checks.mirror.ok, checks.sequencer.ok, checks.queue.ok], [false, false, false]);
  });

  it("count in the text that Prometheus reads", async () => {
    const text = await (await fetch(`${node.url}/metrics`)).text();
    assert.match(text, /^openledger_jobs_total\{outcome="completed"\} 1$/m);
    assert.match(text, /^http_requests_total\{handler="\/v1\/chat\/completions",method="POST",status="200"\} 1$/m);
    assert.match(text, /^openledger_settlement_age_seconds \d+$/m);
    const names = [...text.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name);
    assert.equal(new Set(names).size, names.length);
  });
});

describe("the HTTP surface", () => {
  it("names the methods that a path takes", async () => {
    const response = await fetch(`${node.url}${CHAT_PATH}`);
    assert.deepEqual([response.status, response.headers.get("allow")], [405, "POST"]);
    const posted = await node.post("/v1/models", {});
    assert.deepEqual([posted.status, posted.headers.get("allow")], [405, "GET"]);
    ANSWER_SCHEMAS.Error.parse(await posted.json());
    assert.equal(await statusOf("/v1/images"), 404);
  });

  it("lets pages of the origins that it was told use it, and no others", async () => {
    const ask = (origin: string) =>
      fetch(`${node.url}${CHAT_PATH}`, {
        method: "OPTIONS",
        headers: { origin, "access-control-request-method": "POST" },
      });
    assert.equal(
      (await ask("https://page.example")).headers.get("access-control-allow-origin"),
      "https://page.example",
    );
    assert.equal((await ask("https://other.example")).headers.get("access-control-allow-origin"), null);
  });

  it("leaves what fetch gives an instance of Response", async () => {
    assert.ok((await fetch(`${node.url}/health/live`)) instanceof Response);
  });
});

describe("the OpenAPI document", () => {
  it("has every route of the node, and no other", async () => {
    const { openapi, paths } = await node.get<{ openapi: string; paths: Record<string, object> }>("/openapi.json");
    assert.equal(openapi, "3.1.0");
    const documented = Object.entries(paths).flatMap(([path, item]) =>
      Object.keys(item).map((method) => `${method.toUpperCase()} ${path}`),
    );
    const app = createApp(new Gateway({} as GatewayOptions));
    const served = app.routes
      .filter(({ method }) => method !== "ALL")
      .map(({ method, path }) => `${method} ${path.replace(/:(\w+)(\{[^}]*\})?/g, "{$1}")}`);
    assert.deepEqual(documented.toSorted(), [...new Set(served)].toSorted());
  });

  it("refers to schemas that are there and that accept what they describe", async () => {
    const document = await node.get<{ components: { schemas: Record<string, object> }; paths: object }>(
      "/openapi.json",
    );
    const { schemas } = document.components;
    for (const [, name] of JSON.stringify(document.paths).matchAll(/#\/components\/schemas\/(\w+)/g)) {
      assert.ok(name in schemas, name);
    }
    for (const [, name] of JSON.stringify(document.paths).matchAll(/\{(\w+)\}/g)) {
      assert.match(JSON.stringify(document.paths), new RegExp(`"name":"${name}","in":"path"`));
    }
    const read = (name: string) => z.fromJSONSchema(schemas[name] as never);
    const body = { model: "x", messages: [{ role: "user", content: "x" }] };
    assert.ok(read("ChatCompletionRequest").safeParse(body).success);
    assert.ok(!read("ChatCompletionRequest").safeParse({ ...body, temperature: 9 }).success);
    assert.ok(read("Job").safeParse(await node.get(`/v1/jobs/${jobId}`)).success);
    assert.ok(read("ModelList").safeParse(await node.get("/v1/models")).success);
  });
});
