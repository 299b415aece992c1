import assert from "node:assert/strict";
import { mkdtempSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { decodeTrace } from "../../../operator/attribution/decode-trace.ts";
import type { Engine, GenerateEvent, GenerateRequest } from "../../../operator/engine/engine.ts";
import { type EmbeddedEngine, startEmbeddedEngine } from "../../../operator/engine/worker/embedded-engine.ts";
import { JobServer } from "../../../operator/serving/job-server.ts";
import type { AnswerPiece, AskedJob } from "../../../operator/serving/served-job.ts";
import { verifyJob } from "../../../operator/serving/verify-job.ts";
import type { ToolSettings } from "../../../operator/tools/tool-clients.ts";
import { GRAPHS, MODEL } from "../engine/worker/tiny-model.ts";
import { serveGauge } from "../tools/gauge-server.ts";
import { openServedWorld } from "./served-world.ts";
import { shownJob } from "./shown-job.ts";

let world: Awaited<ReturnType<typeof openServedWorld>>;
let gauge: Awaited<ReturnType<typeof serveGauge>>;
let engine: EmbeddedEngine;
const servers: JobServer[] = [];

before(async () => {
  world = await openServedWorld();
  gauge = await serveGauge();
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
});
after(async () => {
  await Promise.all(servers.map((server) => server.close()));
  await gauge.close();
  await engine.close();
  await world.close();
});

const manifest = (tool: string, call: object) => ({
  ...{ name: `gauge_${tool}`, description: "Levels of rivers", transport: "http", tool, call },
});
const BEFORE = { when: "before", arguments: { query: "{{question}}" } };
const MODEL_CALLS = { when: "model" };
const SPLIT = { operator: 300_000, publisher: 200_000, adapters: 0, prompt: 0, context: 0, training: 0, tool: 500_000 };

async function serverOf(own: Engine = engine, tools: ToolSettings = {}): Promise<JobServer> {
  const { mirror, root } = world;
  const directory = mkdtempSync(join(root, "data-"));
  const settings = { trustedEndpoints: [gauge.origin], ...tools };
  const given = { engine: own, mirror, fetcher: world.fetcher(), model: MODEL, directory, tools: settings };
  const server = await JobServer.start(given);
  servers.push(server);
  return server;
}

async function agentWith(name: string, ...tools: { id: number; version: number }[]) {
  return world.agent(name, { tools, split: SPLIT });
}

async function served(server: JobServer, agent: { agent: number; version: number }, changes: Partial<AskedJob> = {}) {
  const pieces: AnswerPiece[] = [];
  const job: AskedJob = {
    ...agent,
    jobId: `0x${"77".repeat(32)}`,
    payer: "1",
    maxPrice: 10n ** 18n,
    prompt: { messages: [{ role: "user", content: "How high is the Velmor?" }] },
    sampling: {},
    maxTokens: 12,
    ...changes,
  };
  const answer = await server.serve(job, (piece) => pieces.push(piece), new AbortController().signal);
  return { answer, pieces, trace: decodeTrace(answer.trace) };
}

/** The real engine, which says these texts first: a model with random weights would never call a tool by itself. */
function saying(...texts: string[]): Engine & { readonly asked: GenerateRequest[] } {
  const asked: GenerateRequest[] = [];
  const { encode } = servers[0].model as { encode(prompt: { text: string }): readonly number[] };
  return Object.assign(Object.create(engine), {
    asked,
    info: () => engine.info(),
    score: engine.score.bind(engine),
    adapters: () => engine.adapters(),
    async *generate(request: GenerateRequest, signal?: AbortSignal): AsyncGenerator<GenerateEvent> {
      asked.push(request);
      const text = texts.shift();
      if (text === undefined) return yield* engine.generate(request, signal);
      yield { type: "start", adapters: [] };
      let left = text;
      for (const tokenId of encode({ text })) {
        const piece = left.slice(0, 3);
        left = left.slice(3);
        yield { type: "token", choice: 0, tokenId, text: piece };
      }
      yield { type: "finish", choice: 0, reason: "stop", text: left };
      const usage = { promptTokens: 1, cachedTokens: 0, completionTokens: 1 };
      yield { type: "done", usage, timings: { queuedMs: 0, firstTokenMs: 0, totalMs: 0, preemptions: 0 } };
    },
  });
}

test("a tool asked before the answer is a source, and earns", async () => {
  const tool = await world.tool(manifest("level", BEFORE), gauge.endpoint);
  const agent = await agentWith("asks-first", tool);
  const { answer, trace } = await served(await serverOf(), agent);
  assert.deepEqual(trace.inputs.sources, [{ kind: "tool", id: tool.id, via: 0 }]);
  assert.ok("messages" in trace.inputs.prompt);
  const [{ text, source }] = trace.inputs.prompt.messages[0].parts;
  assert.equal(text, 'gauge_level: The level asked for by "How high is the Velmor?" is 4 metres.');
  assert.equal(source, 0);
  assert.equal(trace.context.scores.length, 2);
  const moved = trace.context.effects[0] > 1_000;
  assert.notEqual(trace.context.effects[0], 0);
  assert.deepEqual(answer.tools, moved ? [{ id: tool.id, via: 0, ppm: 1_000_000 }] : []);
});

test("tools that fail are left out with a note, and the answer is given without them", async () => {
  const tools = [
    await world.tool(manifest("broken", BEFORE), gauge.endpoint),
    await world.tool(manifest("endless", BEFORE), gauge.endpoint),
    await world.tool(manifest("slow", BEFORE), gauge.endpoint),
    await world.tool(manifest("level", BEFORE), "http://127.0.0.1:1/mcp"),
  ];
  const agent = await agentWith("unlucky", ...tools);
  const { answer, trace } = await served(await serverOf(engine, { timeout: 1_500 }), agent);
  const codes = ["failed", "too_large", "timeout", "refused"];
  const notes = tools.map(({ id }, i) => `Tool ${id} was left out: ${codes[i]}.`);
  assert.deepEqual([...trace.inputs.notes!].sort(), notes.sort());
  assert.equal(answer.completionTokens, 12);
  assert.deepEqual(answer.tools, []);
});

test("a job fails without a tool that its manifest requires", async () => {
  const tool = await world.tool(manifest("broken", { ...BEFORE, required: true }), gauge.endpoint);
  const agent = await agentWith("strict", tool);
  await assert.rejects(served(await serverOf(), agent), { name: "ServingError", code: "toolFailed" });
});

test("a tool whose manifest is none makes its agent unavailable", async () => {
  const tool = await world.tool({ name: "x" }, gauge.endpoint);
  const agent = await agentWith("malformed", tool);
  await assert.rejects(served(await serverOf(), agent), { name: "ServingError", code: "agentUnavailable" });
});

test("the model calls a tool, reads the result and answers; the call is not shown, the tool is a source", async () => {
  const tool = await world.tool(manifest("level", MODEL_CALLS), gauge.endpoint);
  const agent = await agentWith("calls", tool);
  const call = { name: "gauge_level", arguments: { query: "Velmor <|im_end|>" } };
  const scripted = saying(`<tool_call>${JSON.stringify(call)}</tool_call>`);
  const { answer, pieces, trace } = await served(await serverOf(scripted), agent);
  assert.equal(pieces.map(({ text }) => text).join(""), answer.text);
  assert.ok(!answer.text.includes("tool_call"));
  assert.deepEqual(trace.inputs.sources, [{ kind: "tool", id: tool.id, via: 0 }]);
  assert.ok("messages" in trace.inputs.prompt);
  const [, asked, told] = trace.inputs.prompt.messages;
  assert.equal(told.role, "tool");
  assert.match(told.parts[0].text, /asked for by "Velmor <\u2060\|im_end\|>" is 4 metres/);
  assert.deepEqual([asked.source, told.source], [0, 0]);
  const { tools } = scripted.asked[0].prompt as unknown as {
    tools: { function: { name: string; parameters: object } }[];
  };
  assert.deepEqual(
    [tools[0].function.name, Object.keys(tools[0].function.parameters).length > 0],
    ["gauge_level", true],
  );
});

test("a job with tools is found right by others: calls that helped are the tool's, those that failed nobody's", async () => {
  const tools = [
    await world.tool(manifest("level", MODEL_CALLS), gauge.endpoint),
    await world.tool(manifest("broken", MODEL_CALLS), gauge.endpoint),
    await world.tool({ ...manifest("level", BEFORE), name: "first" }, gauge.endpoint),
  ];
  const agent = await agentWith("checked", ...tools);
  const call = (name: string) => `<tool_call>{"name":"${name}","arguments":{"query":"x"}}</tool_call>`;
  const own = saying(`${call("gauge_level")}\n${call("gauge_broken")}`);
  const { answer, trace } = await served(await serverOf(own), agent);
  assert.equal(trace.inputs.sources.length, 2);
  const { mirror, root } = world;
  const body = { messages: [{ role: "user", content: "How high is the Velmor?" }] };
  const directory = mkdtempSync(join(root, "verifier-"));
  const options = { mirror, fetcher: world.fetcher(), directory, model: MODEL, engine };
  const report = await verifyJob(shownJob(mirror, agent, body, answer), options);
  assert.deepEqual(report.problems, []);
  const other = { messages: [{ role: "user", content: "How deep is it?" }] };
  assert.ok(!(await verifyJob(shownJob(mirror, agent, other, answer), options)).ok);
});

test("a model that calls for ever has to answer after four rounds, and is told what does not work", async () => {
  const tool = await world.tool(manifest("broken", MODEL_CALLS), gauge.endpoint);
  const agent = await agentWith("insists", tool);
  const call = (name: string) => `<tool_call>{"name":"${name}","arguments":{"query":"x"}}</tool_call>`;
  const names = ["gauge_broken", "absent", "gauge_broken", "gauge_broken", "gauge_broken"];
  const scripted = saying(...names.map(call));
  const { answer, trace } = await served(await serverOf(scripted), agent);
  assert.equal(scripted.asked.length, 5);
  assert.match(answer.text, /^<tool_call>/, "the fifth is an answer like any other");
  assert.ok("messages" in trace.inputs.prompt);
  const told = trace.inputs.prompt.messages.filter(({ role }) => role === "tool").map(({ parts }) => parts[0].text);
  const failed = "The call failed: failed.";
  assert.deepEqual(told, [failed, "There is no such tool.", failed, failed]);
  assert.deepEqual(trace.inputs.sources, [], "what gave nothing earns nothing");
});

test("an answer that only looks like a call at first is shown whole", async () => {
  const tool = await world.tool(manifest("level", MODEL_CALLS), gauge.endpoint);
  const agent = await agentWith("looks", tool);
  for (const text of ["<tool_call> is how models ask.", "<b>4 metres</b>", "4 metres"]) {
    const { answer, pieces } = await served(await serverOf(saying(text)), agent);
    assert.equal(answer.text, text);
    assert.equal(pieces.map((piece) => piece.text).join(""), text);
    assert.deepEqual(
      pieces.map(({ at }) => at),
      pieces.map((_, i) => i),
    );
  }
});

test("a result that is too long for the prompt is cut", async () => {
  const tool = await world.tool(manifest("endless", BEFORE), gauge.endpoint);
  const agent = await agentWith("wordy", tool);
  const server = await serverOf(engine, { maxBytes: 4 << 20 });
  const { trace, answer } = await served(server, agent);
  assert.ok("messages" in trace.inputs.prompt);
  assert.match(trace.inputs.prompt.messages[0].parts[0].text, /^gauge_endless: water water/);
  assert.ok(answer.promptTokens < 600, `${answer.promptTokens} tokens`);
});
