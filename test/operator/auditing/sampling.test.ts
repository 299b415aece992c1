import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { TraceInputs } from "../../../operator/attribution/trace.ts";
import type { Auditor } from "../../../operator/auditing/auditor.ts";
import { ContentFetcher } from "../../../operator/chain/content.ts";
import { startEmbeddedEngine } from "../../../operator/engine/worker/embedded-engine.ts";
import { type AuditingOptions, openAuditor } from "../../../operator/node/auditing.ts";
import { type Hex, toHex } from "../../../operator/protocol/bytes.ts";
import { serveChain } from "../../../scripts/stage/serve-chain.ts";
import { GRAPHS, MODEL } from "../engine/worker/tiny-model.ts";
import { AuditedOperator, type Bend } from "./audited-operator.ts";
import { exchangeSources, measuredAgain } from "./measured-again.ts";

const LAUNCHER = fileURLToPath(new URL("../../../operator/cli/openledger.js", import.meta.url));
const QUESTIONS = ["Who built the bridge?", "When is the market held?", "Where do owls sleep?"];

describe("sampling one's own jobs", () => {
  let operator: AuditedOperator;
  let evidence: string;
  let number = 0;

  before(async () => {
    operator = await AuditedOperator.open();
    evidence = join(operator.world.root, "evidence");
  });
  after(() => operator?.close());

  /** A watcher's sampling, with nothing in its memory. */
  function auditor(more: Partial<AuditingOptions> = {}): Auditor {
    const { world, gateway } = operator;
    const folder = mkdtempSync(join(world.root, `watcher-${number++}-`));
    const trustedOrigins = [gateway.url];
    const { deployment, separator } = world.stage;
    const sources = { ipfsGateways: [], folders: [world.published], trustedOrigins };
    return openAuditor({
      ...{ deployment, separator, mirror: world.mirror, trustedOrigins, archives: [], evidence, days: 7, sample: 100 },
      content: new ContentFetcher({ cache: join(folder, "content"), ...sources }),
      ledgers: () => [operator.ledgerFile],
      engine: { model: MODEL, cache: GRAPHS, threads: 1, memoryBytes: 512 * 2 ** 20 },
      serving: join(folder, "serving"),
      ...more,
    });
  }

  /** As a command, in a process and a home of its own. */
  async function command(rpc: string, ...args: string[]) {
    const { root, published } = operator.world;
    const home = { OPENLEDGER_HOME: join(root, "home"), OPENLEDGER_SESSION_KEY: toHex(operator.channelKey) };
    const env = { ...process.env, ...home };
    const chain = ["--rpc", rpc, "--addresses", join(root, "addresses.json"), "--finality", "0", "--json"];
    const data = ["--data", published, "--data", `${operator.gateway.url}/published`];
    const child = spawn(process.execPath, [LAUNCHER, ...args, ...chain, ...data], { env });
    const [out, err] = [child.stdout, child.stderr].map((stream) => stream.setEncoding("utf8").toArray());
    const [code] = (await once(child, "close")) as [number];
    const lines = (await out).join("").trim();
    return {
      code,
      found: lines === "" ? [] : lines.split("\n").map((line) => JSON.parse(line)),
      err: (await err).join(""),
    };
  }

  /** What the ledger has that no round has taken yet is taken. */
  const clear = async () => void (await auditor().round());

  it("nothing is drawn before its batch is posted; then an honest operator's answers are found right", async () => {
    const asked = [await operator.ask(QUESTIONS[0]), await operator.ask(QUESTIONS[1])];
    const watcher = auditor();
    assert.deepEqual(await watcher.round(), []);
    await operator.post();
    const found = await watcher.round();
    assert.deepEqual(
      found.map(({ what }) => what),
      ["verified", "verified"],
      JSON.stringify(found, (_, value) => (typeof value === "bigint" ? Number(value) : value)),
    );
    assert.deepEqual(new Set(found.map(({ job }) => job)), new Set(asked));
    assert.match(found[0].detail, /batch, registry, request and answer, tokens, scores, text, passages, verbatim/);
    assert.ok(!existsSync(evidence));
  });

  it("a round takes so many and no more, each job once, whoever watches with the same ledger", async () => {
    const asked: Hex[] = [];
    for (const question of QUESTIONS) asked.push(await operator.ask(question));
    await operator.post();
    const [first, second, third, fourth] = [2, 2, 2, 2].map((sample) => auditor({ sample }));
    const rounds = [await first.round(), await second.round(), await third.round(), await fourth.round()];
    assert.deepEqual(
      rounds.map(({ length }) => length),
      [2, 1, 0, 0],
    );
    assert.deepEqual(new Set(rounds.flat().map(({ job }) => job)), new Set(asked));
  });

  it("jobs of agents with another base model, and jobs paid for long ago, are left alone", async () => {
    await operator.ask(QUESTIONS[0]);
    await operator.post();
    // Times are whole seconds.
    await sleep(1_100);
    assert.deepEqual(await auditor({ days: 0 }).round(), []);
    const other = join(operator.world.root, "other-model");
    cpSync(MODEL, other, { recursive: true });
    const weights = join(other, "model.safetensors");
    const changed = readFileSync(weights);
    changed[changed.length - 1] ^= 1;
    writeFileSync(weights, changed);
    assert.deepEqual(await auditor({ engine: { model: other } }).round(), []);
    const [{ what }] = await auditor().round();
    assert.equal(what, "verified");
  });

  /** All of the context to Chen, in whose favour the operator lies; the trace stays as it was measured. */
  const toChen: Bend = async (honest) => {
    const context = [{ id: operator.net.contributions[2], ppm: 1_000_000, via: 0 }];
    return { ...honest, context };
  };

  /** The names of passages exchanged before measuring: receipt and trace agree to the last bit. */
  const exchanged: Bend = (honest, server, engine) => measuredAgain(honest, server, engine, exchangeSources);

  it("an operator that shifts shares between contributors is found by the sample, and not by replaying", async () => {
    const chain = await serveChain(operator.world.stage);
    try {
      await clear();
      operator.bend = toChen;
      const job = await operator.ask(QUESTIONS[0]);
      await operator.post();
      const replayed = await command(chain.url, "watch", "--once");
      assert.equal(replayed.code, 0, replayed.err);
      assert.ok(replayed.found.length > 0);
      assert.ok(replayed.found.every(({ what }) => what === "honest"));

      const sampling = ["--sample", "5", "--model", MODEL];
      const { code, found, err } = await command(chain.url, "watch", "--once", ...sampling);
      assert.equal(code, 3, err);
      const last = found.at(-1);
      assert.deepEqual([last.what, last.job, last.operator], ["misattributed", job, operator.id]);
      assert.match(last.detail, /shares are not those of the trace/);
      assert.equal((await command(chain.url, "watch", "--once", ...sampling)).code, 0, "it is not told twice");

      operator.bend = async (honest) => honest;
      const file = last.evidence as string;
      assert.equal(statSync(file).mode & 0o077, 0, "it holds question and answer");
      const again = await command(chain.url, "verify", "job", "--evidence", file, "--model", MODEL);
      assert.equal(again.code, 1, again.err);
      const [{ valid, problems, checked }] = again.found;
      assert.deepEqual([valid, problems], [false, ["The receipt's shares are not those of the trace."]]);
      assert.ok(checked.includes("batch"), checked.join());
      await checkForgeries(chain.url, file);
    } finally {
      operator.bend = async (honest) => honest;
      chain.close();
    }
  });

  /** Whoever makes evidence up is found out by the same command. */
  async function checkForgeries(rpc: string, file: string): Promise<void> {
    const real = JSON.parse(readFileSync(file, "utf8"));
    const forged = join(operator.world.root, "forged.json");
    const run = async (given: unknown) => {
      writeFileSync(forged, JSON.stringify(given));
      return command(rpc, "verify", "job", "--evidence", forged);
    };
    const elsewhere = await run({ ...real, inclusion: { ...real.inclusion, state_root: `0x${"00".repeat(32)}` } });
    assert.match(elsewhere.found[0].problems.join(), /another receipt in its place/);
    const { header } = real.inclusion;
    const noBatch = await run({ ...real, inclusion: { ...real.inclusion, header: `${header.slice(0, -2)}99` } });
    assert.match(noBatch.found[0].unchecked.join(), /not on the chain/);
    assert.match((await run({ ...real, salt: undefined })).err, /salt: /);
    assert.match((await run({ ...real, chain: 5 })).err, /is of chain 5/);
  }

  it("shares that agree with a trace which was measured under others' names are found out by the passages", async () => {
    await clear();
    operator.bend = exchanged;
    await operator.ask(QUESTIONS[1]);
    operator.bend = async (honest) => honest;
    await operator.post();
    const [found] = await auditor().round();
    assert.equal(found.what, "misattributed", found.detail);
    assert.equal(readdirSync(evidence).length > 0 && existsSync(found.evidence!), true);
  });

  it("scores of an answer that left blocks of the past out are no lie to an engine that leaves none out", async () => {
    const sparse = { blockSize: 8, sinkBlocks: 0, localBlocks: 1, stride: 0 };
    const settings = { model: MODEL, exact: true, threads: 1, memoryBytes: 512 * 2 ** 20, cache: GRAPHS };
    const engine = await startEmbeddedEngine({ ...settings, sparse, blockSize: sparse.blockSize });
    const leftOut = (inputs: TraceInputs) => ({ ...inputs, model: { ...inputs.model, sparse } });
    const chain = await serveChain(operator.world.stage);
    try {
      await clear();
      operator.bend = (honest, server) => measuredAgain(honest, server, engine, leftOut);
      await operator.ask(QUESTIONS[0]);
      await operator.post();
      const [honest] = await auditor().round();
      assert.equal(honest.what, "unchecked", honest.detail);
      assert.match(
        honest.detail,
        /^scores: The engine attends to "everything", the answer was computed with .*"localBlocks":1.*\.$/,
      );

      operator.bend = (...asked) =>
        measuredAgain(asked[0], asked[1], engine, (inputs) => exchangeSources(leftOut(inputs)));
      const job = await operator.ask(QUESTIONS[1]);
      await operator.post();
      const wrong = (await auditor().round()).find((found) => found.job === job)!;
      assert.equal(wrong.what, "misattributed", wrong.detail);
      assert.doesNotMatch(wrong.detail, /attends/);
      // Whoever looks at one job alone starts an engine that attends to the same.
      const given = ["--evidence", wrong.evidence!, "--model", MODEL];
      const { found, err } = await command(chain.url, "verify", "job", ...given);
      assert.deepEqual(found[0]?.sparse, sparse, err);
      assert.ok(found[0].checked.includes("scores"), JSON.stringify(found));
      assert.doesNotMatch(found[0].problems.join(), /attends|score/);
    } finally {
      operator.bend = async (honest) => honest;
      chain.close();
      await engine.close();
    }
  });

  it("what cannot be had is said to be unchecked, and no lie; it is tried three times", async () => {
    await clear();
    const job = await operator.ask(QUESTIONS[2]);
    await operator.post();
    const { mirror, stage, people } = operator.world;
    const { contracts, gasOf } = stage;
    const move = async (endpoint: string) => {
      const { account } = people.Olga;
      await gasOf(contracts.operators.write.setEndpoint([operator.id, endpoint], { account }));
      await mirror.sync();
    };
    await move("http://127.0.0.1:9");
    // Its batches are in an archive; only the operator has the trace.
    const watcher = () => auditor({ directory: operator.published, trustedOrigins: ["http://127.0.0.1:9"] });
    for (let tries = 0; tries < 3; tries++) {
      const [found, ...others] = await watcher().round();
      assert.deepEqual([found.job, found.what, others.length], [job, "unchecked", 0]);
      assert.match(found.detail, /Nobody answers/);
      assert.equal(found.evidence, undefined);
    }
    assert.deepEqual(await watcher().round(), []);
    await move(operator.gateway.url);
    assert.deepEqual(await auditor().round(), []);
  });

  it("an operator on a private address that nobody has named is not asked", async () => {
    await operator.ask(QUESTIONS[2]);
    await operator.post();
    const [found] = await auditor({ directory: operator.published, trustedOrigins: [] }).round();
    assert.deepEqual([found.what], ["unchecked"]);
    assert.equal((await auditor().round())[0].what, "verified");
  });

  it("answers are bought like anybody's, within the limit, and done again once they are posted", async () => {
    const chain = await serveChain(operator.world.stage);
    try {
      await clear();
      const before = operator.ledger.balance().charged;
      const shopping = ["--sample", "1", "--model", MODEL, "--buy", "2", "--channel", String(operator.channel)];
      const bought = await command(chain.url, "watch", "--once", ...shopping, "--max-total", "5");
      assert.equal(bought.code, 0, bought.err);
      const jobs = [...bought.err.matchAll(/Bought an answer of guide: job (0x\w{64})/g)].map(([, job]) => job);
      assert.equal(jobs.length, 2, bought.err);
      await operator.post();
      const found = await auditor().round();
      assert.deepEqual(
        found.map(({ what }) => what),
        ["verified", "verified"],
      );
      assert.deepEqual(new Set(found.map(({ job }) => job)), new Set(jobs));
      const { charged } = operator.ledger.balance();
      assert.ok(charged > before);
      const broke = await command(chain.url, "watch", "--once", ...shopping, "--max-total", "0.000001");
      assert.match(broke.err, /Nothing was bought: .* the limit is 0.000001/);
      assert.equal(operator.ledger.balance().charged, charged);
      assert.match((await command(chain.url, "watch", "--once", ...shopping)).err, /--max-total OPEN/);
    } finally {
      chain.close();
    }
  });
});
