import assert from "node:assert/strict";
import { mkdtempSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { decodeTrace } from "../../../operator/attribution/decode-trace.ts";
import { type EmbeddedEngine, startEmbeddedEngine } from "../../../operator/engine/worker/embedded-engine.ts";
import { JobServer, type JobServerOptions } from "../../../operator/serving/job-server.ts";
import type { AnswerPiece, AskedJob } from "../../../operator/serving/served-job.ts";
import { adapter, GRAPHS, MODEL } from "../engine/worker/tiny-model.ts";
import { openServedWorld } from "./served-world.ts";

let world: Awaited<ReturnType<typeof openServedWorld>>;
let engine: EmbeddedEngine;
const servers: JobServer[] = [];

before(async () => {
  [world, engine] = await Promise.all([
    openServedWorld(),
    startEmbeddedEngine({
      ...{ model: MODEL, quantisation: "f32", exact: true, threads: 1, memoryBytes: 512 * 2 ** 20 },
      ...{ slots: 4, maxRank: 8, blockSize: 16, maxBatch: 8, cache: GRAPHS },
    }),
  ]);
});
after(async () => {
  await Promise.all(servers.map((server) => server.close()));
  await engine.close();
  await world.close();
});

async function serverOf(options: Partial<JobServerOptions> = {}): Promise<JobServer> {
  const { mirror, fetcher, root } = world;
  const directory = mkdtempSync(join(root, "data-"));
  const server = await JobServer.start({ engine, mirror, fetcher: fetcher(), model: MODEL, directory, ...options });
  servers.push(server);
  return server;
}

let asked = 0;
function job(agent: { agent: number; version: number }, given: Partial<AskedJob> = {}): AskedJob {
  return {
    ...agent,
    jobId: `0x${(++asked).toString(16).padStart(64, "0")}`,
    payer: "1",
    maxPrice: 10n ** 18n,
    prompt: { messages: [{ role: "user", content: "Who built the bridge?" }] },
    sampling: { temperature: 0.7 },
    maxTokens: 16,
    ...given,
  };
}

async function served(server: JobServer, given: AskedJob, signal = new AbortController().signal) {
  const pieces: AnswerPiece[] = [];
  const answer = await server.serve(given, (piece) => pieces.push(piece), signal);
  return { answer, pieces, trace: decodeTrace(answer.trace) };
}

type Contributed = Parameters<typeof world.dataNet>[0];
const rivers = (): Contributed => [
  { owner: world.people.Ada, documents: { "bridge.md": "# Bridge\n\nThe bridge was built by Anna in stone." } },
  { owner: world.people.Ben, documents: { "market.md": "# Market\n\nA market under the bridge is held on Mondays." } },
  { owner: world.people.Chen, documents: { "owls.md": "# Owls\n\nOwls turn their heads." } },
];

test("an answer comes from the agent's prompt, adapters and DataNets, and says whom it owes what", async () => {
  const net = await world.dataNet(rivers());
  const prompt = await world.prompt("Answer from these:\n{{documents}}");
  const adapters = [
    { ...(await world.adapter(adapter(1))), share: 600_000, scale: 750_000 },
    { ...(await world.adapter(adapter(2))), share: 400_000, scale: 1_000_000 },
  ];
  const agent = await world.agent("guide", { prompt, adapters, dataNets: [net] });
  const server = await serverOf();
  const { answer, pieces, trace } = await served(server, job(agent));

  assert.equal(pieces.map(({ text }) => text).join(""), answer.text);
  assert.deepEqual(
    pieces.map(({ at }) => at),
    pieces.map((_, i) => i),
  );
  assert.equal(answer.completionTokens, 16);
  assert.equal(answer.end, "length");
  const { inputs } = trace;
  const [bridge, market] = net.contributions;
  assert.deepEqual(
    inputs.sources.map(({ kind, id, via }) => [kind, id, via]),
    [
      ["prompt", prompt.id, 0],
      ["contribution", bridge, 0],
      ["contribution", market, 0],
    ],
  );
  assert.deepEqual(
    inputs.adapters.map(({ id, weight, hash }) => [id, weight, hash?.length]),
    [
      [adapters[0].id, 0.75, 64],
      [adapters[1].id, 1, 64],
    ],
  );
  assert.ok("messages" in inputs.prompt);
  assert.equal(inputs.prompt.messages[0].parts[0].text, "Answer from these:\n");
  assert.equal(inputs.prompt.messages[1].parts[0].text, "Who built the bridge?");
  assert.ok(answer.context.length > 0);
  assert.equal(
    answer.context.reduce((sum, { ppm }) => sum + ppm, 0),
    1_000_000,
  );
  assert.deepEqual([answer.training, answer.tools], [[], []]);
});

test("a job served twice, by another worker, gives the same pieces, trace and shares", async () => {
  const net = await world.dataNet(rivers());
  const agent = await world.agent("twice", { dataNets: [net] });
  const given = job(agent);
  const [one, other] = await Promise.all([served(await serverOf(), given), served(await serverOf(), given)]);
  assert.deepEqual(other.pieces, one.pieces);
  assert.deepEqual(other.trace, one.trace);
  assert.equal(other.answer.traceHash, one.answer.traceHash);
  assert.deepEqual(other.answer.context, one.answer.context);
  const another = await served(await serverOf(), job(agent));
  assert.notEqual(another.answer.text, one.answer.text, "the job's id is the seed");
});
