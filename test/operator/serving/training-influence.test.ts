import assert from "node:assert/strict";
import { appendFileSync, cpSync, mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { decodeTrace } from "../../../operator/attribution/decode-trace.ts";
import { poolEntries } from "../../../operator/attribution/shares.ts";
import { encodeTrace } from "../../../operator/attribution/trace.ts";
import { type EmbeddedEngine, startEmbeddedEngine } from "../../../operator/engine/worker/embedded-engine.ts";
import { toHex } from "../../../operator/protocol/bytes.ts";
import { keccak } from "../../../operator/protocol/keccak.ts";
import { JobServer } from "../../../operator/serving/job-server.ts";
import { verifyJob } from "../../../operator/serving/verify-job.ts";
import { DEFAULT_ADAPTER_SETTINGS } from "../../../operator/training/lora/settings.ts";
import { trainAdapter } from "../../../operator/training/lora/train-adapter.ts";
import { GRAPHS, MODEL } from "../engine/worker/tiny-model.ts";
import { openServedWorld } from "./served-world.ts";
import { shownJob } from "./shown-job.ts";

let world: Awaited<ReturnType<typeof openServedWorld>>;
let engine: EmbeddedEngine;
let net: { id: number; version: number; contributions: number[] };
let hash: string;
let trained: string;
let agent: { agent: number; version: number };
const servers: JobServer[] = [];

const pairs = (prompt: string, completion: string) =>
  Array.from({ length: 6 }, (_, i) => `${JSON.stringify({ prompt: `${prompt} ${i}`, completion })}\n`).join("");

before(async () => {
  world = await openServedWorld();
  engine = await startEmbeddedEngine({
    model: MODEL,
    quantisation: "f32",
    exact: true,
    threads: 1,
    memoryBytes: 512 * 2 ** 20,
    slots: 4,
    maxRank: 8,
    blockSize: 16,
    maxBatch: 8,
    cache: GRAPHS,
  });
  const { Ada, Ben } = world.people;
  const given = [
    { owner: Ada, documents: { "pairs.jsonl": pairs("ask", "yes yes yes") } },
    { owner: Ben, documents: { "pairs.jsonl": pairs("say", "no") } },
  ];
  net = await world.dataNet(given);
  const data = join(world.root, "training-data");
  for (const [i, { documents }] of given.entries()) {
    mkdirSync(join(data, String(i)), { recursive: true });
    writeFileSync(join(data, String(i), "pairs.jsonl"), documents["pairs.jsonl"]);
  }
  trained = join(world.root, "trained");
  const lora = { ...DEFAULT_ADAPTER_SETTINGS.lora, rank: 4, alpha: 8 };
  const report = await trainAdapter({
    model: MODEL,
    dataNets: [data],
    output: trained,
    settings: { ...DEFAULT_ADAPTER_SETTINGS, lora, epochs: 2, rowsPerStep: 4, learningRate: 0.01, evaluation: 0 },
    threads: 1,
    checkpointEvery: 100,
    sketch: 16,
  });
  hash = report!.manifest.adapterHash;
  const pinned = await world.adapter(trained, { lineage: [{ dataNet: net.id, version: 1 }] });
  agent = await world.agent("trained", {
    adapters: [{ ...pinned, share: 1_000_000, scale: 1_000_000 }],
    split: { operator: 300_000, publisher: 0, adapters: 200_000, prompt: 0, context: 0, training: 500_000, tool: 0 },
  });
});
after(async () => {
  await Promise.all(servers.map((server) => server.close()));
  await engine.close();
  await world.close();
});

async function served(prepare: (sketches: string) => void) {
  const { mirror, root } = world;
  const directory = mkdtempSync(join(root, "data-"));
  mkdirSync(join(directory, "sketches"));
  prepare(join(directory, "sketches"));
  const server = await JobServer.start({ engine, mirror, fetcher: world.fetcher(), model: MODEL, directory });
  servers.push(server);
  const answer = await server.serve(
    {
      ...agent,
      jobId: `0x${"11".repeat(32)}`,
      payer: "1",
      maxPrice: 10n ** 18n,
      prompt: { text: "ask 3" },
      sampling: { temperature: 0 },
      maxTokens: 8,
    },
    () => {},
    new AbortController().signal,
  );
  return { answer, trace: decodeTrace(answer.trace) };
}

/** What a verifier with sketches of its own, or without, says of an answer. */
async function verified({ answer }: Awaited<ReturnType<typeof served>>, prepare: (sketches: string) => void) {
  const { mirror, root } = world;
  const directory = mkdtempSync(join(root, "verifier-"));
  mkdirSync(join(directory, "sketches"));
  prepare(join(directory, "sketches"));
  const evidence = shownJob(mirror, agent, { prompt: "ask 3" }, answer);
  return verifyJob(evidence, { mirror, fetcher: world.fetcher(), directory, model: MODEL, engine });
}

const withSketches = (sketches: string) => cpSync(trained, join(sketches, hash), { recursive: true });

test("the data that an adapter was trained on earns by its influence, under its lineage", async () => {
  const { answer, trace } = await served(withSketches);
  assert.deepEqual(
    trace.influence.map(({ id, via }) => [id, via]),
    net.contributions.map((id) => [id, 0]),
  );
  assert.equal(Math.max(...trace.influence.map(({ effect }) => Math.abs(effect))), 1_000_000);
  const earning = trace.influence.filter(({ effect }) => effect > 0).map(({ id }) => id);
  assert.ok(earning.length > 0, "the test's adapter has learned something");
  assert.deepEqual(
    answer.training.map(({ id }) => id),
    earning,
  );
});

test("influence is measured again by whoever holds the sketches, and named as unchecked by others", async () => {
  const honest = await served(withSketches);
  const report = await verified(honest, withSketches);
  assert.deepEqual(report.problems, []);
  assert.ok(report.checked.includes("influence"));
  assert.match((await verified(honest, () => {})).unchecked.join(), /influence/);

  const [first, second] = honest.trace.influence;
  const influence = [
    { ...first, effect: second.effect },
    { ...second, effect: first.effect },
  ];
  const pools = { ...honest.trace.pools, training: poolEntries(influence, 12) };
  const trace = encodeTrace({ ...honest.trace, influence, pools });
  const traceHash = toHex(keccak(trace));
  const forged = { ...honest, answer: { ...honest.answer, trace, traceHash, training: pools.training } };
  assert.match((await verified(forged, withSketches)).problems.join(), /influence of training data/);
});

test("without sketches of its own the operator credits nobody, whatever lies at the adapter's address", async () => {
  const { answer, trace } = await served(() => {});
  assert.deepEqual([answer.training, trace.influence], [[], []]);
});

test("sketches beside other weights than the registered ones are not used", async () => {
  const { answer } = await served((sketches) => {
    withSketches(sketches);
    appendFileSync(join(sketches, hash, "adapter_config.json"), "\n");
  });
  assert.deepEqual(answer.training, []);
});

test("what is withdrawn does not earn from training either", async () => {
  const { contracts, gasOf } = world.stage;
  for (const [i, { account }] of [world.people.Ada, world.people.Ben].entries()) {
    await gasOf(contracts.dataNets.write.withdraw([net.contributions[i]], { account }));
  }
  await world.mirror.sync();
  const { answer, trace } = await served(withSketches);
  assert.deepEqual([answer.training, trace.influence], [[], []]);
});
