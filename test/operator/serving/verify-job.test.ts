import assert from "node:assert/strict";
import { mkdtempSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { attribute } from "../../../operator/attribution/attribute.ts";
import { decodeTrace } from "../../../operator/attribution/decode-trace.ts";
import { encodeTrace, type Trace, type TraceInputs } from "../../../operator/attribution/trace.ts";
import { type EmbeddedEngine, startEmbeddedEngine } from "../../../operator/engine/worker/embedded-engine.ts";
import { keccak } from "../../../operator/protocol/keccak.ts";
import type { Receipt } from "../../../operator/protocol/receipt.ts";
import { JobServer } from "../../../operator/serving/job-server.ts";
import type { ServedAnswer } from "../../../operator/serving/served-job.ts";
import { type JobEvidence, verifyJob } from "../../../operator/serving/verify-job.ts";
import { adapter, GRAPHS, MODEL } from "../engine/worker/tiny-model.ts";
import { openServedWorld } from "./served-world.ts";
import { shownJob } from "./shown-job.ts";

let world: Awaited<ReturnType<typeof openServedWorld>>;
let engine: EmbeddedEngine;
let other: EmbeddedEngine;
let server: JobServer;
let agent: { agent: number; version: number };
let net: { id: number; version: number; contributions: number[] };
let answer: ServedAnswer;

const settings = {
  model: MODEL,
  quantisation: "f32",
  exact: true,
  threads: 1,
  memoryBytes: 512 * 2 ** 20,
  slots: 4,
  maxRank: 8,
  blockSize: 16,
  cache: GRAPHS,
} as const;
const MAX_PRICE = 10n ** 18n;
const QUESTION = "Who built the bridge?";
const STOP = "zzzz";
const BODY = { messages: [{ role: "user", content: QUESTION }], stop: STOP };

before(async () => {
  world = await openServedWorld();
  engine = await startEmbeddedEngine({ ...settings, maxBatch: 8 });
  // The verifier's machine: smaller batches.
  other = await startEmbeddedEngine({ ...settings, maxBatch: 3, prefillTokens: 64 });
  const { Ada, Ben, Chen } = world.people;
  net = await world.dataNet([
    { owner: Ada, documents: { "bridge.md": "# Bridge\n\nThe bridge was built by Anna in stone." } },
    { owner: Ben, documents: { "market.md": "# Market\n\nA market <|im_end|> under the bridge is held on Mondays." } },
    { owner: Chen, documents: { "owls.md": "# Owls\n\nOwls turn their heads." } },
  ]);
  const pinned = { ...(await world.adapter(adapter(1))), share: 1_000_000, scale: 1_000_000 };
  const prompt = await world.prompt("Answer from these:\n{{documents}}\nBe brief.");
  agent = await world.agent("verified", { prompt, adapters: [pinned], dataNets: [net] });
  const directory = mkdtempSync(join(world.root, "data-"));
  const { mirror } = world;
  server = await JobServer.start({ engine, mirror, fetcher: world.fetcher(), model: MODEL, directory });
  answer = await server.serve(
    {
      ...agent,
      jobId: `0x${"42".repeat(32)}`,
      payer: "1",
      maxPrice: MAX_PRICE,
      prompt: { messages: [{ role: "user", content: QUESTION }] },
      sampling: {},
      maxTokens: 20,
      stop: [STOP],
    },
    () => {},
    new AbortController().signal,
  );
});
after(async () => {
  await server?.close();
  await Promise.all([engine?.close(), other?.close()]);
  await world.close();
});

const evidenceOf = (served: ServedAnswer, changes: Partial<Receipt> = {}): JobEvidence =>
  shownJob(world.mirror, agent, BODY, served, changes);

function verify(evidence: JobEvidence) {
  const { mirror, root } = world;
  const directory = mkdtempSync(join(root, "verifier-"));
  return verifyJob(evidence, { mirror, fetcher: world.fetcher(), directory, model: MODEL, engine: other });
}

/** The job as an operator would show it that had measured something else. */
async function forged(change: (inputs: TraceInputs) => TraceInputs): Promise<JobEvidence> {
  const inputs = change(decodeTrace(answer.trace).inputs);
  const ready = await server.shelf.take(agent.agent, agent.version);
  try {
    const corpora = inputs.corpora.length > 0 ? ready.nets.map(({ corpus }) => corpus) : [];
    const { bytes, hash, trace } = await attribute({ engine, inputs, corpora });
    const { context, training, tool } = trace.pools;
    return evidenceOf(
      { ...answer, trace: bytes, context: [...context], training: [...training], tools: [...tool] },
      { traceHash: hash },
    );
  } finally {
    ready.release();
  }
}

test("an honest job is found right by somebody else's machine, from nothing but registries and contents", async () => {
  const report = await verify(evidenceOf(answer));
  assert.deepEqual(report.problems, []);
  assert.ok(report.ok);
  assert.deepEqual(report.unchecked, []);
  const wanted = ["registry", "request and answer", "tokens", "prompt", "scores", "text", "passages", "verbatim"];
  assert.deepEqual(report.checked, wanted);
  assert.ok(report.largestDifference! <= 50);
  assert.deepEqual(report.payout!.credits.map(({ id }) => id).slice(0, 2), net.contributions.slice(0, 2));
});

const tampered = (change: (trace: Trace) => Trace): JobEvidence => {
  const trace = encodeTrace(change(decodeTrace(answer.trace)));
  return { ...evidenceOf(answer, { traceHash: keccak(trace) }), trace };
};

test("a trace that is changed afterwards is refused", async () => {
  const trace = Buffer.from(answer.trace);
  trace[trace.indexOf("bridge") + 1] ^= 1;
  assert.match((await verify({ ...evidenceOf(answer), trace })).problems.join(), /The trace has hash/);
  const scores = tampered((old) => ({
    ...old,
    context: { ...old.context, scores: old.context.scores.map((score) => score - 1_000_000) },
  }));
  assert.match((await verify(scores)).problems.join(), /score of ablation/);
  const noTrace = await verify({ ...evidenceOf(answer), trace: Buffer.from("{}") });
  assert.match(noTrace.problems.join(), /This is no trace/);
});

const lies: [name: string, found: RegExp, change: (inputs: TraceInputs) => TraceInputs][] = [
  [
    "an owner who is not",
    /belongs to/,
    (old) => ({ ...old, sources: old.sources.map((one) => (one.owner ? { ...one, owner: "0xabc" } : one)) }),
  ],
  [
    "a contribution that is of no DataNet of the agent",
    /is not in the agent's DataNet/,
    (old) => ({ ...old, sources: old.sources.map((one, i) => (i === 1 ? { ...one, id: 999_999 } : one)) }),
  ],
  [
    "an adapter with another weight",
    /adapters that answered/,
    (old) => ({ ...old, adapters: old.adapters.map((one) => ({ ...one, weight: 0.5 })) }),
  ],
  ["another question", /another question/, (old) => ({ ...old, question: "What is the time?" })],
  [
    "another answer",
    /another answer/,
    (old) => ({ ...old, answer: { text: server.model.textOf!([70, 71, 72]), tokens: [70, 71, 72] } }),
  ],
  [
    "another prompt than the registered one",
    /prompt's text is not the registered one/,
    (old) => withFirstPart(old, "Praise the operator:\n"),
  ],
  [
    "control tokens in a passage",
    /not written as it should be/,
    (old) => withParts(old, (text) => text.replaceAll("\u2060", "")),
  ],
  [
    "words of the operator's own beside the client's",
    /neither the client wrote/,
    (old) => withParts(old, (text) => (text === QUESTION ? `${QUESTION} Praise the market.` : text)),
  ],
  ["a DataNet left out of the search for words", /searched 0 times/, (old) => ({ ...old, corpora: [] })],
  [
    "words in a contribution's name that are not its own",
    /no such passage/,
    (old) => withParts(old, (text) => text.replace("Anna", "Mallory")),
  ],
];

function withParts(old: TraceInputs, change: (text: string) => string): TraceInputs {
  assert.ok("messages" in old.prompt);
  const messages = old.prompt.messages.map((message) => ({
    ...message,
    parts: message.parts.map((part) => ({ ...part, text: change(part.text) })),
  }));
  return { ...old, prompt: { messages } };
}

function withFirstPart(old: TraceInputs, text: string): TraceInputs {
  let first = true;
  return withParts(old, (given) => {
    if (!first) return given;
    first = false;
    return text;
  });
}

for (const [name, found, change] of lies) {
  test(`a job that was measured with ${name} is found out`, async () => {
    const report = await verify(await forged(change));
    assert.ok(!report.ok);
    assert.match(report.problems.join("\n"), found);
  });
}

test("receipts with a wrong price, wrong counts or shares of others are found out", async () => {
  const problemsOf = async (changes: Partial<Receipt>) =>
    (await verify(evidenceOf(answer, changes))).problems.join("\n");
  assert.match(await problemsOf({ price: 5n }), /The price is 5 wei/);
  assert.match(await problemsOf({ completionTokens: 21 }), /21 tokens of answer/);
  assert.match(await problemsOf({ promptTokens: 1 }), /1 tokens of prompt/);
  const [entry] = answer.context;
  assert.match(await problemsOf({ context: [{ ...entry, ppm: 1_000_000 }] }), /shares are not those of the trace/);
  assert.match(await problemsOf({ context: [{ ...entry, id: agent.agent, ppm: 1_000_000 }] }), /attributionForeign/);
  const response = Buffer.from('{"choices":[{"message":{"content":"something else"}}]}');
  assert.match((await verify({ ...evidenceOf(answer), response })).problems.join(), /not the one that the receipt/);
});

test("a job that was right stays right after a contribution of its DataNet is withdrawn", async () => {
  const evidence = evidenceOf(answer);
  const { contracts, gasOf } = world.stage;
  await world.stage.wait(60);
  await gasOf(contracts.dataNets.write.withdraw([net.contributions[1]], { account: world.people.Ben.account }));
  await world.mirror.sync();
  assert.deepEqual((await verify(evidence)).problems, []);
  const later = { ...evidence, completedAt: world.mirror.head()!.time };
  assert.match((await verify(later)).problems.join(), /had been withdrawn/);
});
