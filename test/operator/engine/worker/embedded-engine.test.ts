import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import type {
  Engine,
  FinishEvent,
  GenerateEvent,
  GenerateRequest,
  TokenEvent,
} from "../../../../operator/engine/engine.ts";
import { EngineError, type EngineErrorCode } from "../../../../operator/engine/engine-error.ts";
import { renderPrometheus } from "../../../../operator/engine/metrics.ts";
import { readModelConfig } from "../../../../operator/engine/model/config.ts";
import { readTokenizer } from "../../../../operator/engine/model/tokenizer.ts";
import { startEmbeddedEngine } from "../../../../operator/engine/worker/embedded-engine.ts";
import type { EngineSettings } from "../../../../operator/engine/worker/settings.ts";
import { tinyAdapter } from "../adapters/tiny-adapter.ts";
import { adapter, brokenAdapter, GRAPHS, MODEL } from "./tiny-model.ts";

const SETTINGS: EngineSettings = {
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
};
const engine = await startEmbeddedEngine(SETTINGS);
after(() => engine.close());

const failsWith = (code: EngineErrorCode) => (error: unknown) => error instanceof EngineError && error.code === code;
const greedy = { temperature: 0 };

async function collect(from: Engine, request: GenerateRequest, signal?: AbortSignal) {
  const events: GenerateEvent[] = [];
  for await (const event of from.generate(request, signal)) events.push(event);
  const tokens = events.filter((event): event is TokenEvent => event.type === "token");
  const finish = events.filter((event): event is FinishEvent => event.type === "finish");
  const text = [...tokens, ...finish].map((event) => event.text).join("");
  return { events, tokens, finish, text, ids: tokens.map((event) => event.tokenId) };
}

test("text streams token by token and adds up to what the tokenizer makes of all tokens", async () => {
  const { events, tokens, ids, text, finish } = await collect(engine, {
    prompt: { text: "Once upon a time" },
    sampling: greedy,
    maxTokens: 24,
    logprobs: 3,
  });
  assert.deepEqual([events[0].type, events.at(-2)!.type, events.at(-1)!.type], ["start", "finish", "done"]);
  const { decode } = readTokenizer(MODEL, readModelConfig(MODEL).vocabSize);
  assert.equal(text, decode(ids as number[]));
  assert.equal(ids.length, 24);
  assert.equal(finish[0].reason, "length");
  assert.ok(tokens.every(({ logprob }) => logprob!.top.length === 3 && logprob!.logprob === logprob!.top[0].logprob));
});

test("the same text, its token ids and its messages are three ways to say the same", async () => {
  const config = readModelConfig(MODEL);
  const tokenizer = readTokenizer(MODEL, config.vocabSize);
  const messages = [{ role: "user", content: "Who is there?" }];
  const rendered = tokenizer.applyTemplate(messages);
  const ask = (prompt: GenerateRequest["prompt"]) => collect(engine, { prompt, sampling: greedy, maxTokens: 8 });
  const chat = await ask({ messages });
  const tokens = tokenizer.encode(rendered, { special: false });
  assert.deepEqual((await ask({ tokens })).ids, chat.ids);
  const start = chat.events[0];
  assert.deepEqual(start.type === "start" && start.promptTokenIds, tokens);
});

test("adapters change the answer, are reported with their content, and an unknown one is never the base", async () => {
  const base = await collect(engine, { prompt: { text: "Hello" }, sampling: greedy, maxTokens: 12 });
  const info = await engine.loadAdapter({ id: "tales", path: adapter(1) });
  const request = { prompt: { text: "Hello" }, adapters: [{ id: "tales" }], sampling: greedy, maxTokens: 12 };
  const adapted = await collect(engine, request);
  assert.notDeepEqual(adapted.ids, base.ids);
  const start = adapted.events[0];
  assert.deepEqual(start.type === "start" && start.adapters, [{ id: "tales", weight: 1, hash: info.hash }]);
  await assert.rejects(collect(engine, { ...request, adapters: [{ id: "tails" }] }), failsWith("unknown_adapter"));
  const off = await collect(engine, { ...request, adapters: [{ id: "tales", weight: 0 }] });
  assert.deepEqual(off.ids, base.ids, "weight 0 is the base, as asked for");
});

test("an adapter replaced on disk under its name serves its new content to the next request", async () => {
  const path = adapter(2);
  await engine.loadAdapter({ id: "changing", path });
  const request = { prompt: { text: "A long story short" }, adapters: [{ id: "changing" }], sampling: greedy };
  const before = await collect(engine, { ...request, maxTokens: 12 });
  tinyAdapter(path, 3, { rank: 4, size: 0.2, config: readModelConfig(MODEL) });
  const after = await collect(engine, { ...request, maxTokens: 12 });
  await engine.loadAdapter({ id: "fresh", path });
  const fresh = await collect(engine, { ...request, adapters: [{ id: "fresh" }], maxTokens: 12 });
  assert.notDeepEqual(after.ids, before.ids);
  assert.deepEqual(after.ids, fresh.ids);
});

test("a broken adapter fails its own request and nothing else", async () => {
  await engine.registerAdapters([{ id: "broken", path: brokenAdapter() }]);
  const prompt = { text: "Anybody there" };
  const good = collect(engine, { prompt, sampling: greedy, maxTokens: 20 });
  await assert.rejects(collect(engine, { prompt, adapters: [{ id: "broken" }] }), failsWith("adapter_failed"));
  assert.equal((await good).ids.length, 20);
  await assert.rejects(engine.loadAdapter({ id: "broken too", path: brokenAdapter() }), failsWith("adapter_failed"));
});

test("a request that is left or aborted ends and gives its memory back", async () => {
  const controller = new AbortController();
  const endless = { prompt: { text: "On and on" }, sampling: greedy, ignoreEos: true };
  await assert.rejects(async () => {
    for await (const event of engine.generate(endless, controller.signal)) {
      if (event.type === "token") controller.abort();
    }
  }, failsWith("cancelled"));
  for await (const event of engine.generate(endless)) if (event.type === "token") break;
  await assert.rejects(collect(engine, endless, AbortSignal.abort()), failsWith("cancelled"));
  const gauges = async () => new Map((await engine.metrics()).map((family) => [family.name, family.samples[0]?.value]));
  while ((await gauges()).get("vllm:num_requests_running") !== 0);
  assert.equal((await gauges()).get("openledger:kv_blocks_used"), 0);
});

test("an answer follows its JSON schema, and a schema that is none is refused", async () => {
  const schema = {
    type: "object",
    properties: { name: { type: "string", maxLength: 5 }, size: { enum: [1, 2] } },
    required: ["name", "size"],
    additionalProperties: false,
  };
  const { text, finish } = await collect(engine, {
    prompt: { text: "Give me JSON" },
    responseFormat: { type: "json_schema", schema },
    sampling: { seed: 5 },
    n: 2,
  });
  assert.equal(finish.length, 2);
  assert.ok(text.length > 0);
  for (const seed of [1, 2, 3]) {
    const one = await collect(engine, {
      prompt: { text: "Give me JSON" },
      responseFormat: { type: "json_schema", schema },
      sampling: { seed },
    });
    const value = JSON.parse(one.text);
    assert.ok([...value.name].length <= 5 && [1, 2].includes(value.size), one.text);
    assert.equal(one.finish[0].reason, "stop");
  }
  await assert.rejects(
    collect(engine, { prompt: { text: "x" }, responseFormat: { type: "json_schema", schema: { type: "strange" } } }),
    failsWith("invalid_request"),
  );
});

test("scores agree with the log-probabilities of generating the same tokens", async () => {
  const prompt = { text: "The house that Jack built stands on a hill" };
  const answer = await collect(engine, { prompt, sampling: greedy, maxTokens: 6, logprobs: 0 });
  const tokens = answer.ids as number[];
  const result = await engine.score({
    contexts: [prompt, { text: "The house" }, { text: "The house that Jack built" }],
    continuation: { tokens },
  });
  assert.equal(result.scores.length, 3);
  for (const [i, event] of answer.tokens.entries()) {
    assert.ok(Math.abs(result.scores[0].tokenLogprobs[i] - event.logprob!.logprob) < 1e-4);
  }
  assert.ok(result.scores[0].logprob > result.scores[1].logprob, "the context that led to the answer explains it best");
  assert.ok(result.usage.cachedTokens > 0);
  const signal = AbortSignal.abort();
  await assert.rejects(
    engine.score({ contexts: [prompt], continuation: { text: "x" } }, signal),
    failsWith("cancelled"),
  );
});

test("requests that make no sense are refused by name", async () => {
  const prompt = { text: "x" };
  const bad: [GenerateRequest, RegExp][] = [
    [{ prompt: { tokens: [100_000] } }, /100000/],
    [{ prompt: { tokens: 5 as unknown as number[] } }, /no list/],
    [{ prompt, maxTokens: 0 }, /maxTokens/],
    [{ prompt, n: 1000 }, /n is 1000/],
    [{ prompt, stop: [""] }, /stop/],
    [{ prompt, logprobs: 50 }, /logprobs/],
    [{ prompt, sampling: { temperature: -1 } }, /temperature/],
    [{ prompt, adapters: [{ id: "tales", weight: 1e9 }] }, /weight/],
    [{ prompt: { text: 5 as unknown as string } }, /no text/],
    [{ prompt, payer: (() => {}) as unknown as string }, /clone/],
  ];
  for (const [request, message] of bad) {
    await assert.rejects(collect(engine, request), (error: EngineError) => {
      assert.equal(error.code, "invalid_request");
      assert.match(error.message, message);
      return true;
    });
  }
  await assert.rejects(collect(engine, { prompt: { text: "word ".repeat(5000) } }), failsWith("context_too_long"));
  await assert.rejects(collect(engine, { prompt: { text: "x".repeat(1e6) } }), failsWith("context_too_long"));
});

test("an engine that nobody asks anything loads the graphs of serving, those of adapters once there are some", async () => {
  const idle = await startEmbeddedEngine(SETTINGS);
  after(() => idle.close());
  const loaded = async () =>
    (await idle.metrics()).find(({ name }) => name === "openledger:graphs_loaded")!.samples[0].value;
  while ((await loaded()) < 3) await pause(5);
  await idle.registerAdapters([{ id: "a", path: adapter(7) }]);
  while ((await loaded()) < 7) await pause(5);
  const answered = await collect(idle, { prompt: { text: "x" }, adapters: [{ id: "a" }], maxTokens: 4 });
  assert.equal(answered.ids.length, 4);
  assert.equal(await loaded(), 7, "what was needed was there");
});

test("metrics have the names that dashboards know, and count what happened", async () => {
  const text = renderPrometheus(await engine.metrics());
  for (const name of [
    "vllm:num_requests_running",
    "vllm:num_requests_waiting",
    "vllm:kv_cache_usage_perc",
    "vllm:prompt_tokens_total",
    "vllm:generation_tokens_total",
    "vllm:time_to_first_token_seconds_bucket",
    "vllm:inter_token_latency_seconds_count",
    "vllm:e2e_request_latency_seconds_sum",
    'vllm:lora_requests_info{max_lora="4",running_lora_adapters="",waiting_lora_adapters=""}',
    "openledger:kv_blocks_shared",
    "openledger:kv_blocks_evicted_total",
    "openledger:adapter_slot_hits_total",
  ]) {
    assert.ok(text.includes(`\n${name}`) || text.startsWith(name), name);
  }
  assert.match(text, /openledger:requests_total\{reason="finished"\} \d+/);
  assert.match(text, /openledger:graph_steps_total\{attention="decode",adapters="none"\} [1-9]/);
  assert.match(text, /openledger:graph_steps_total\{attention="decode",adapters="(aligned|single)"\} [1-9]/);
  assert.match(text, /openledger:requests_total\{reason="adapter_failed"\} 1\n/);
});

test("an engine that leaves blocks out says which, and counts them", async () => {
  const sparse = { sinkBlocks: 1, localBlocks: 2, stride: 4 };
  assert.deepEqual([(await engine.info()).sparse, (await engine.info()).settings.sparse], [undefined, "off"]);
  const leaving = await startEmbeddedEngine({ ...SETTINGS, sparse, warm: false });
  try {
    const { sparse: said, settings } = await leaving.info();
    assert.deepEqual([said, settings.sparse], [{ blockSize: 16, ...sparse }, "1,2,4"]);
    await collect(leaving, { prompt: { text: "Once upon a time ".repeat(20) }, maxTokens: 40, ignoreEos: true });
    const counted = new Map((await leaving.metrics()).map(({ name, samples }) => [name, samples[0]?.value]));
    for (const what of ["attended", "left_out", "given_back"]) {
      assert.ok(counted.get(`openledger:kv_blocks_${what}_total`)! > 0, what);
    }
    const dense = new Map((await engine.metrics()).map(({ name, samples }) => [name, samples[0]?.value]));
    assert.equal(dense.get("openledger:kv_blocks_left_out_total"), 0);
  } finally {
    await leaving.close();
  }
});

test("the caller's thread stays free while the engine computes", async () => {
  let ticks = 0;
  const timer = setInterval(() => ticks++, 1);
  const { tokens } = await collect(engine, { prompt: { text: "Busy" }, maxTokens: 200, ignoreEos: true });
  clearInterval(timer);
  assert.equal(tokens.length, 200);
  assert.ok(ticks > 0);
});

test("draining answers what was accepted and refuses the rest; closing fails what is left", async () => {
  const other = await startEmbeddedEngine({ ...SETTINGS, maxBatch: 1 });
  const accepted = [1, 2, 3].map((seed) =>
    collect(other, { prompt: { text: "x" }, maxTokens: 30, sampling: { seed } }),
  );
  const drained = other.drain();
  await assert.rejects(collect(other, { prompt: { text: "late" } }), failsWith("draining"));
  await drained;
  for (const one of await Promise.all(accepted)) assert.equal(one.events.at(-1)!.type, "done");
  await other.close();
  await assert.rejects(collect(other, { prompt: { text: "later" } }), failsWith("closed"));
  const third = await startEmbeddedEngine(SETTINGS);
  const running = collect(third, { prompt: { text: "x" }, ignoreEos: true, sampling: greedy });
  const rejected = assert.rejects(running, failsWith("closed"));
  await third.close();
  await rejected;
});

test("settings and folders that cannot be served are refused with the reason", async () => {
  const refused = async (settings: Partial<EngineSettings>, message: RegExp) =>
    assert.rejects(startEmbeddedEngine({ ...SETTINGS, ...settings }), (error: EngineError) => {
      assert.ok(error instanceof EngineError);
      assert.match(error.message, message);
      return true;
    });
  await refused({ memoryBytes: 1 << 20, kvBytes: 1 << 20 }, /does not fit/);
  await refused({ blockSize: 3 }, /blockSize/);
  await refused({ kvBytes: 10 }, /kvBytes/);
  await refused({ adapterBytes: 10 }, /adapterBytes/);
  const empty = mkdtempSync(join(tmpdir(), "openledger-engine-"));
  await refused({ model: empty }, /config\.json/);
  writeFileSync(join(empty, "config.json"), "{}");
  await refused({ model: empty }, /config\.json/);
  rmSync(empty, { recursive: true });
});
