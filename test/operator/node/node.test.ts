import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import { after, afterEach, before, describe, it, type TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { formatEther } from "viem";
import { hashModel } from "../../../operator/engine/runtime/compiled-model.ts";
import { readConfig } from "../../../operator/node/config.ts";
import { PayerLedger } from "../../../operator/payments/payer/payer-ledger.ts";
import { payingFetch } from "../../../operator/payments/paying-fetch.ts";
import { MODEL } from "../engine/worker/tiny-model.ts";
import { ScriptedHub } from "../hub/scripted-hub.ts";
import { NodeWorld, type StartedNode } from "./node-world.ts";

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address() as AddressInfo;
  await new Promise((closed) => probe.close(closed));
  return port;
}

describe("a node", () => {
  let world: NodeWorld;
  let ledger: PayerLedger;

  before(async () => {
    world = await NodeWorld.open();
    const [{ channel, key: privateKey }] = world.olga.channels;
    const { chainId, contracts } = world.stage.deployment;
    const domain = { chainId: BigInt(chainId), verifyingContract: contracts.channels };
    ledger = new PayerLedger({ file: join(world.folder, "payer.sqlite"), channel, domain, privateKey });
  });
  // A test that failed leaves nothing running that would make the next ones fail as well.
  afterEach(async () => {
    await world.killAll();
    world.configure();
  });
  after(async () => {
    ledger.close();
    await world.close();
  });

  /** Of the last request that was paid. */
  const last = { job: "", salt: "" };

  async function ask(
    node: StartedNode,
    question: string,
    tokens = 4,
  ): Promise<{ usage: { completion_tokens: number } }> {
    const fetch = payingFetch({
      ledger,
      attempts: 10,
      fetch: (url, init) => {
        const header = new Headers(init?.headers).get("payment-signature");
        if (header) last.salt = JSON.parse(atob(header)).payload.salt;
        return globalThis.fetch(url, init);
      },
    });
    const response = await fetch(`${node.urls.gateway}/v1/chat/completions`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ model: world.agent, max_tokens: tokens, messages: [{ role: "user", content: question }] }),
    });
    const text = await response.text();
    last.job = response.headers.get("x-openledger-job") ?? "";
    assert.equal(response.status, 200, `${text}\n${node.log()}`);
    return JSON.parse(text);
  }

  const health = async (url: string) =>
    (await (await fetch(`${url}/health`)).json()) as { status: string; alarms: string[] };

  async function until(holds: () => Promise<boolean>, what: string, pause = 100): Promise<void> {
    for (let left = 60_000 / pause; !(await holds()); left--) {
      if (left === 0) assert.fail(`never: ${what}\n${world.newestLog()}`);
      await sleep(pause);
    }
  }

  const standing = () => world.stage.contracts.settlement.read.chainOf([world.olga.id]);

  it("serves paid jobs with all roles in one process, settles them, and ends in order", async () => {
    const node = await world.start();
    assert.equal((await health(node.urls.gateway)).status, "ready");
    for (const question of ["Who are you?", "Where do rivers end?"]) {
      assert.ok((await ask(node, question)).usage.completion_tokens > 0);
    }
    await until(async () => (await standing()).tip === 1n, "a batch on the chain");
    await until(
      async () =>
        (await (await fetch(`${node.urls.gateway}/metrics`)).text()).includes("openledger_watched_batches_total 1"),
      "the watcher replays it",
    );
    await ask(node, "And then?");
    await checkFromOutside(node);
    const status = await world.run("operator", "status", "--config", world.config, "--json");
    assert.equal(JSON.parse(status.out).batches, 1);
    assert.equal(await node.stop(), 0, node.log());
    assert.match(node.log(), /Ended\.\n$/);

    const journal = world.journal();
    assert.equal(journal.receiptsAbove(0).length, 3);
    assert.equal(journal.vouchersInFlight().length, 0);
    journal.close();
  });

  /** What people do who do not believe the operator. */
  async function checkFromOutside(node: StartedNode): Promise<void> {
    const sources = ["--rpc", world.rpc, "--addresses", join(world.folder, "addresses.json"), "--finality", "0"];
    const shared = [...sources, "--data", `${node.urls.gateway}/published`, "--json"];
    const json = async (...args: string[]) => {
      const { code, out, err } = await world.run(...args, ...shared);
      assert.equal(code, 0, err);
      return JSON.parse(out);
    };
    assert.deepEqual(await json("verify", "batch", String(world.olga.id), "1"), {
      ...{ valid: true, operator: world.olga.id, height: 1, batches: 1, receipts: 2 },
    });
    const { what, detail } = await json("watch", "--once");
    assert.deepEqual([what, detail], ["honest", "2 receipts"]);
    const job = ["verify", "job", last.job, "--operator-url", node.urls.gateway];
    const report = await json(...job, "--salt", last.salt, "--model", MODEL);
    assert.deepEqual([report.valid, report.checked[0]], [true, "job's id"], JSON.stringify(report));
    assert.ok(report.checked.includes("request and answer"));
    const stranger = await world.run(...job, ...shared);
    assert.equal(stranger.code, 1);
    assert.match(stranger.err, /whoever has the request's salt/);
  }

  it("does a sample of the jobs again that were paid for on its machine", async (context) => {
    await openHub(context);
    const port = await freePort();
    const url = `http://127.0.0.1:${port}`;
    const { contracts, gasOf } = world.stage;
    const { account } = world.olga.person;
    await gasOf(contracts.operators.write.setEndpoint([world.olga.id, url], { account }));
    const sampling = { sample: 2, ledgers: ["payer.sqlite"], model: "tiny/parrot", memoryMiB: 512 };
    const content = { trustedOrigins: [url] };
    world.configure({ gateway: { port }, content, watcher: { intervalSeconds: 0.3, ...sampling } });
    const node = await world.start();
    for (const question of ["What is sampled?", "By whom?"]) await ask(node, question);
    const verified = /^openledger_sampled_jobs_total{verdict="verified"} [1-9]/m;
    await until(async () => verified.test(await (await fetch(`${url}/metrics`)).text()), "a job is done again");
    assert.deepEqual((await health(url)).alarms, []);
    assert.match(node.log(), /watcher\.model: tiny\/parrot is tiny\/parrot@[0-9a-f]{40} at present/);
    const evidence = join(world.folder, "data", "evidence");
    mkdirSync(evidence, { recursive: true });
    writeFileSync(join(evidence, "of-a-job.json"), "{}");
    // An answer about the node's health is kept for a second.
    const alarm = /measured wrong: 1 files of evidence/;
    await until(async () => alarm.test((await health(url)).alarms.join()), "evidence is an alarm");
    rmSync(evidence, { recursive: true });
    assert.equal(await node.stop(), 0, node.log());
  });

  it("works as processes of one role each, which share a secret", async () => {
    world.configure({ sequencer: { secretFile: "secret", port: 0 }, health: { port: 0 } });
    const settler = await world.start("--role", "settler");
    const url = settler.urls.sequencer!;
    const worker = await world.start("--role", "worker", "--sequencer", url);
    const gateway = await world.start("--role", "gateway", "--sequencer", url);
    assert.ok((await ask(gateway, "Is anybody there?")).usage.completion_tokens > 0);
    assert.equal((await health(worker.urls.health!)).status, "ready");
    const drained = await world.run("operator", "drain", "--config", world.config, "--json");
    assert.deepEqual(JSON.parse(drained.out), { ended: 3 }, drained.err);
    assert.deepEqual(await Promise.all([settler, worker, gateway].map((node) => node.stop())), [0, 0, 0]);
    world.configure();
  });

  it("charges jobs once that were being answered when everything was killed", async () => {
    const port = await freePort();
    world.configure({ gateway: { port } });
    const books = world.journal();
    const before = books.receiptsAbove(0).length;
    books.close();
    const node = await world.start();
    const questions = ["Where do rivers begin?", "And mountains?", "And the sea?", "And this sentence?"];
    const answers = Promise.all(questions.map((question) => ask(node, question, 300)));
    const running = /openledger_worker_jobs_running [1-4]\n/;
    const metrics = async () => (await fetch(`${node.urls.gateway}/metrics`)).text();
    await until(async () => running.test(await metrics()), "a job runs", 10);
    await node.stop("SIGKILL");
    const next = await world.start();
    assert.ok((await answers).every(({ usage }) => usage.completion_tokens > 0));
    assert.equal(await next.stop(), 0, next.log());
    const journal = world.journal();
    const receipts = journal.receiptsAbove(0);
    assert.deepEqual([receipts.length, journal.vouchersInFlight().length], [before + questions.length, 0]);
    assert.equal(
      ledger.balance().charged,
      receipts.reduce((sum, { price }) => sum + price, 0n),
    );
    journal.close();
    world.configure();
  });

  it("is one settler for each operator, and says so to a second one", async () => {
    const node = await world.start("--role", "settler", "--json");
    const second = await world.run("operator", "start", "--config", world.config, "--role", "settler");
    assert.equal(second.code, 1);
    assert.match(second.err, /Another process writes .*journal\.sqlite/);
    assert.equal(await node.stop(), 0);
  });

  it("says which setting is wrong, and what is missing around it", async () => {
    const start = async (...args: string[]) => {
      const { code, err } = await world.run("operator", "start", "--config", world.config, ...args);
      assert.equal(code, 1, err);
      return err;
    };
    world.configure({ settlement: { batchReceipts: "many" }, gatewy: {} });
    const err = await start();
    assert.match(err, /settlement\.batchReceipts: .*number/);
    assert.match(err, /gatewy: no such field/);
    world.configure({ engine: undefined });
    assert.match(await start("--role", "worker,gateway"), /sequencer\.url: is missing/);
    world.configure({ redis: { url: "redis://127.0.0.1:1" } });
    assert.match(await start(), /No Redis answers at 127\.0\.0\.1:1: start one/);
    world.configure({ chain: { rpc: "http://127.0.0.1:1" } });
    assert.match(await start(), /No chain answers at http:\/\/127\.0\.0\.1:1/);
    world.configure({ sequencer: { secretFile: "addresses.json", port: 0 } });
    assert.match(await start("--role", "settler"), /others may read .*addresses\.json/);
    assert.match(await start("--role", "king"), /There is no role king/);
    world.configure();
  });

  it("is made ready by one command, which registers the operator and puts up its bond", async () => {
    const { stage, folder } = world;
    const { minimumBond } = stage.parameters;
    await stage.gasOf(stage.contracts.token.write.transfer([world.olga.person.account.address, minimumBond]));
    const config = join(folder, "fresh", "openledger.json");
    mkdirSync(join(folder, "fresh"));
    const place = ["--rpc", world.rpc, "--addresses", join(folder, "addresses.json"), "--config", config];
    const account = ["--register", "--endpoint", "https://fresh.example", "--bond", formatEther(minimumBond)];
    const made = await world.run("init", ...place, "--model", MODEL, ...account, "--json");
    assert.equal(made.code, 0, made.err);
    const { operator, bond, baseModel } = JSON.parse(made.out);
    assert.equal(operator, await stage.contracts.operators.read.operatorCount());
    assert.deepEqual([bond, baseModel], [formatEther(minimumBond), `0x${hashModel(MODEL)}`]);
    assert.equal(statSync(join(folder, "fresh", "sequencer.secret")).mode & 0o777, 0o600);
    assert.equal(readConfig(config).engine?.model, MODEL);
    const again = await world.run("init", ...place, "--operator", String(operator));
    assert.deepEqual([again.code, /exists; nothing was changed/.test(again.err)], [1, true], again.err);
    await stage.gasOf(stage.contracts.token.write.transfer([world.olga.person.account.address, 10n ** 18n]));
    const more = await world.run("operator", "bond", "1", "--config", config, "--json");
    assert.equal(JSON.parse(more.out).bond, String(Number(bond) + 1), more.err);
    const missing = await world.run("init", ...place.slice(0, 4), "--config", `${config}2`, "--operator", "99");
    assert.match(missing.err, /There is no operator 99/);
  });

  /** A hub that has the model as `tiny/parrot`, for the nodes and commands of one test. */
  async function openHub(context: TestContext): Promise<ScriptedHub> {
    const hub = await ScriptedHub.start();
    context.after(() => hub.close());
    hub.add("tiny/parrot", MODEL);
    process.env.HF_ENDPOINT = hub.url;
    process.env.XDG_CACHE_HOME = join(world.folder, "cache");
    context.after(() => {
      delete process.env.HF_ENDPOINT;
      delete process.env.XDG_CACHE_HOME;
    });
    return hub;
  }

  it("is made ready with a model by its hub's name, pinned to a commit, and serves it", async (context) => {
    const hub = await openHub(context);
    const config = join(world.folder, "named.json");
    const place = ["--rpc", world.rpc, "--addresses", join(world.folder, "addresses.json"), "--config", config];
    const made = await world.run("init", ...place, "--operator", "1", "--model", "tiny/parrot", "--json");
    assert.equal(made.code, 0, made.err);
    assert.equal(JSON.parse(made.out).baseModel, `0x${hashModel(MODEL)}`);
    const pinned = `tiny/parrot@${hub.repositories.get("tiny/parrot")!.commit}`;
    assert.equal(readConfig(config).engine?.model, pinned);
    hub.seen.length = 0;
    world.configure({ engine: { model: pinned, threads: 1, memoryMiB: 512, slots: 1, maxRank: 4, maxBatch: 4 } });
    const node = await world.start();
    assert.ok((await ask(node, "Who is there?")).usage.completion_tokens > 0);
    assert.deepEqual(hub.seen, [], "what is pinned is not asked for again");
    assert.equal(await node.stop(), 0, node.log());
    world.configure({ engine: { model: "tiny/parrot" } });
    const loose = await world.start("--role", "gateway,worker,settler");
    assert.match(loose.log(), new RegExp(`engine\\.model: tiny/parrot is ${pinned} at present; write that`));
    assert.equal(await loose.stop(), 0, loose.log());
  });

  it("makes batches final after a restart, and pays everyone", async () => {
    const { stage, olga } = world;
    await stage.wait(stage.parameters.windows.challenge + 1);
    const again = await world.start();
    await until(async () => (await standing()).finalHeight >= 1n, "a final batch");
    const pool = () => stage.contracts.settlement.read.poolOf([olga.id]);
    await until(async () => (await pool()).operatorPaid > 0n, "everyone is paid");
    assert.equal(await again.stop("SIGINT"), 0, again.log());
  });
});
