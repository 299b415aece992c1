import assert from "node:assert/strict";
import { test } from "node:test";
import { adapterHash } from "../../../../operator/engine/model/adapter-folder.ts";
import { connectRemoteEngine } from "../../../../operator/engine/remote/connect.ts";
import { adapterFolder } from "../../../../scripts/bench/shapes.ts";
import { refusedAs } from "./refused-as.ts";
import { collect, only, QUICK } from "./scripted-peer.ts";
import { byteTokens, scriptedLogprob, startVllm } from "./vllm-peer.ts";

test("vLLM: text, token ids, log-probabilities and usage come as the server sent them", async (context) => {
  const { peer } = await startVllm(context);
  const engine = await connectRemoteEngine(`vllm+${peer.url}`, QUICK);
  const answer = await collect(engine.generate({ prompt: { text: "Hey" }, maxTokens: 8, logprobs: 1 }));
  assert.deepEqual(answer.texts, ["base says hi"]);
  assert.deepEqual(answer.tokenIds, [[1000, 1001, 1002]]);
  assert.deepEqual(only(answer, "start").promptTokenIds, [256, 72, 101, 121]);
  const token = answer.events.find((event) => event.type === "token");
  assert.ok(token?.type === "token" && token.logprob !== undefined);
  assert.equal(token.logprob.logprob, -0.5);
  assert.deepEqual(token.logprob.bytes, [98, 97, 115, 101]);
  assert.deepEqual(
    token.logprob.top.map(({ token: text, logprob }) => [text, logprob]),
    [["base", -0.5]],
  );
  assert.equal(only(answer, "finish").reason, "stop");
  assert.deepEqual(only(answer, "done").usage, { promptTokens: 4, cachedTokens: 4, completionTokens: 3 });
});

test("vLLM: every sampling value is sent, so that the server's own defaults never apply", async (context) => {
  const { peer } = await startVllm(context);
  const engine = await connectRemoteEngine(`vllm+${peer.url}`, { ...QUICK, apiKey: "k-1" });
  await collect(engine.generate({ prompt: { tokens: [5, 6] }, maxTokens: 4 }));
  const [plain] = peer.to("/v1/completions");
  assert.equal(plain.headers.authorization, "Bearer k-1");
  assert.deepEqual(plain.body.prompt, [5, 6]);
  const { temperature, top_p, top_k, min_p, repetition_penalty, presence_penalty, frequency_penalty } = plain.body;
  assert.deepEqual(
    { temperature, top_p, top_k, min_p, repetition_penalty, presence_penalty, frequency_penalty },
    { temperature: 1, top_p: 1, top_k: -1, min_p: 0, repetition_penalty: 1, presence_penalty: 0, frequency_penalty: 0 },
  );
  assert.ok(Number.isInteger(plain.body.seed));
  const sampling = { temperature: 0, topP: 0.9, topK: 5, minP: 0.1, seed: 7, logitBias: { "3": -5 } } as const;
  const responseFormat = { type: "json_schema", schema: { type: "object" } } as const;
  await collect(engine.generate({ prompt: { text: "a" }, maxTokens: 1, sampling, stop: ["."], responseFormat }));
  const full = peer.to("/v1/completions")[1].body;
  assert.deepEqual([full.temperature, full.top_p, full.top_k, full.min_p, full.seed], [0, 0.9, 5, 0.1, 7]);
  assert.deepEqual([full.logit_bias, full.stop], [{ "3": -5 }, ["."]]);
  assert.deepEqual(full.response_format.json_schema.schema, { type: "object" });
});

test("vLLM: without a limit the answer may fill what the context leaves", async (context) => {
  const { peer } = await startVllm(context);
  const engine = await connectRemoteEngine(`vllm+${peer.url}`, QUICK);
  await collect(engine.generate({ prompt: { text: "Hey" } }));
  assert.equal(peer.to("/v1/completions")[0].body.max_tokens, 64 - 4);
  await collect(engine.generate({ prompt: { tokens: [1, 2, 3, 4] }, maxTokens: 1000 }));
  assert.equal(peer.to("/v1/completions")[1].body.max_tokens, 64 - 4);
});

test("vLLM: chat messages become the tokens that the server's template gives", async (context) => {
  const { peer } = await startVllm(context);
  const engine = await connectRemoteEngine(`vllm+${peer.url}`, QUICK);
  const messages = [{ role: "user", content: "Hi" }];
  const answer = await collect(engine.generate({ prompt: { messages }, maxTokens: 3 }));
  assert.equal(peer.to("/tokenize")[0].body.add_generation_prompt, true);
  assert.deepEqual(peer.to("/v1/completions")[0].body.prompt, byteTokens("Hi", false));
  assert.equal(answer.texts[0], "base says hi");
});

test("vLLM: several choices come interleaved, each with its own end", async (context) => {
  const { peer } = await startVllm(context);
  const engine = await connectRemoteEngine(`vllm+${peer.url}`, QUICK);
  const answer = await collect(engine.generate({ prompt: { text: "a" }, maxTokens: 3, n: 3 }));
  assert.deepEqual(answer.texts, ["base says hi", "base says hi", "base says hi"]);
  assert.equal(only(answer, "done").usage.completionTokens, 9);
});

test("vLLM: an adapter is loaded under a name of its content, selected, and unloaded", async (context) => {
  const { peer, adapters } = await startVllm(context);
  const hashOf = async (path: string) => (path === "/adapters/law" ? "ab".repeat(32) : undefined);
  const engine = await connectRemoteEngine(`vllm+${peer.url}`, { ...QUICK, hashOf });
  const loaded = await engine.loadAdapter({ id: "law", path: "/adapters/law" });
  assert.equal(loaded.hash, "ab".repeat(32));
  assert.deepEqual([...adapters], [["law@abababababababab", "/adapters/law"]]);
  const answer = await collect(engine.generate({ prompt: { text: "a" }, maxTokens: 3, adapters: [{ id: "law" }] }));
  assert.equal(answer.texts[0], "law@abababababababab says hi");
  assert.deepEqual(only(answer, "start").adapters, [{ id: "law", weight: 1, hash: "ab".repeat(32) }]);
  assert.deepEqual(
    (await engine.adapters()).map(({ id, tier, inUse }) => ({ id, tier, inUse })),
    [{ id: "law", tier: "remote", inUse: 0 }],
  );
  await engine.unloadAdapter("law");
  assert.equal(adapters.size, 0);
  await assert.rejects(
    collect(engine.generate({ prompt: { text: "a" }, adapters: [{ id: "law" }] })),
    refusedAs("unknown_adapter"),
  );
});

test("vLLM: unloading waits for the requests in flight and refuses new ones meanwhile", async (context) => {
  const { peer, adapters } = await startVllm(context);
  const engine = await connectRemoteEngine(`vllm+${peer.url}`, QUICK);
  await engine.loadAdapter({ id: "law", path: "/law" });
  const request = { prompt: { text: "a" }, maxTokens: 3, adapters: [{ id: "law" }] };
  const running = engine.generate(request)[Symbol.asyncIterator]();
  await running.next();
  const unloaded = engine.unloadAdapter("law");
  await assert.rejects(collect(engine.generate(request)), refusedAs("unknown_adapter"));
  assert.equal(adapters.size, 1);
  while (!(await running.next()).done) {}
  await unloaded;
  assert.equal(adapters.size, 0);
});

test("vLLM: an adapter loaded anew after a change has another name than before", async (context) => {
  const { peer } = await startVllm(context);
  const engine = await connectRemoteEngine(`vllm+${peer.url}`, QUICK);
  const names = [];
  for (let i = 0; i < 2; i++) {
    await engine.loadAdapter({ id: "law", path: "/adapters/law" });
    await engine.unloadAdapter("law");
    names.push(peer.to("/v1/load_lora_adapter")[i].body.lora_name);
  }
  assert.notEqual(names[0], names[1]);
});

test("vLLM: content that is not the expected one is refused before the server is asked", async (context) => {
  const { peer } = await startVllm(context);
  const engine = await connectRemoteEngine(`vllm+${peer.url}`, { ...QUICK, hashOf: async () => "11".repeat(32) });
  const source = { id: "law", path: "/a", expectedHash: "22".repeat(32) };
  await assert.rejects(engine.loadAdapter(source), refusedAs("adapter_failed"));
  assert.equal(peer.to("/v1/load_lora_adapter").length, 0);
});

test("vLLM: a folder that this machine sees too is hashed, so that the trace can name its content", async (context) => {
  const { peer, adapters } = await startVllm(context);
  const engine = await connectRemoteEngine(`vllm+${peer.url}`, QUICK);
  const path = adapterFolder("tiny", 0);
  const { hash } = await engine.loadAdapter({ id: "law", path });
  assert.equal(hash, adapterHash(path));
  assert.deepEqual([...adapters.keys()], [`law@${hash?.slice(0, 16)}`]);
  const elsewhere = await engine.loadAdapter({ id: "far", path: "/not/here" });
  assert.equal(elsewhere.hash, undefined);
});

test("vLLM: adapters that the server was started with can be used under their names", async (context) => {
  const { peer, adapters } = await startVllm(context);
  adapters.set("tales", "/srv/tales");
  const engine = await connectRemoteEngine(`vllm+${peer.url}`, QUICK);
  const answer = await collect(engine.generate({ prompt: { text: "a" }, maxTokens: 3, adapters: [{ id: "tales" }] }));
  assert.equal(answer.texts[0], "tales says hi");
});

test("vLLM: an unknown adapter is refused and nothing is generated", async (context) => {
  const { peer } = await startVllm(context);
  const engine = await connectRemoteEngine(`vllm+${peer.url}`, QUICK);
  const request = { prompt: { text: "a" }, maxTokens: 3, adapters: [{ id: "nobody" }] };
  await assert.rejects(collect(engine.generate(request)), refusedAs("unknown_adapter"));
  await assert.rejects(
    engine.score({ contexts: [{ text: "a" }], continuation: { text: "b" }, adapters: [{ id: "nobody" }] }),
    refusedAs("unknown_adapter"),
  );
  assert.equal(peer.to("/v1/completions").length, 0);
});

test("vLLM: an answer by another model than the adapter is never passed on", async (context) => {
  const { peer, handler, adapters } = await startVllm(context);
  adapters.set("tales", "/srv/tales");
  const engine = await connectRemoteEngine(`vllm+${peer.url}`, QUICK);
  peer.script((request, reply) => {
    if (request.path === "/v1/completions") request.body.model = "base";
    return handler(request, reply);
  });
  const answer = collect(engine.generate({ prompt: { text: "a" }, maxTokens: 3, adapters: [{ id: "tales" }] }));
  await assert.rejects(answer, refusedAs("failed"));
});

test("vLLM: adapters that a restarted server has lost are loaded again, once", async (context) => {
  const { peer, adapters } = await startVllm(context);
  const engine = await connectRemoteEngine(`vllm+${peer.url}`, QUICK);
  await engine.loadAdapter({ id: "law", path: "/adapters/law" });
  adapters.clear();
  const answer = await collect(engine.generate({ prompt: { text: "a" }, maxTokens: 3, adapters: [{ id: "law" }] }));
  assert.match(answer.texts[0], /^law@\w{16} says hi$/);
  adapters.clear();
  const result = await engine.score({
    contexts: [{ text: "a" }],
    continuation: { text: "b" },
    adapters: [{ id: "law" }],
  });
  assert.equal(result.scores.length, 1);
});

test("vLLM: a broken adapter and a server that takes none at run time are told apart", async (context) => {
  const { peer, handler } = await startVllm(context);
  const engine = await connectRemoteEngine(`vllm+${peer.url}`, QUICK);
  await assert.rejects(engine.loadAdapter({ id: "b", path: "/broken" }), refusedAs("adapter_failed"));
  peer.script((request, reply) =>
    request.path === "/v1/load_lora_adapter" ? reply.json({ detail: "Not Found" }, 404) : handler(request, reply),
  );
  await assert.rejects(engine.loadAdapter({ id: "c", path: "/c" }), refusedAs("unsupported"));
});

test("vLLM: blends and weights are refused rather than served as something else", async (context) => {
  const { peer, adapters } = await startVllm(context);
  adapters.set("a", "/a").set("b", "/b");
  const engine = await connectRemoteEngine(`vllm+${peer.url}`, QUICK);
  for (const uses of [[{ id: "a" }, { id: "b" }], [{ id: "a", weight: 0.5 }]]) {
    const request = { prompt: { text: "a" }, maxTokens: 3, adapters: uses };
    await assert.rejects(collect(engine.generate(request)), refusedAs("unsupported"));
  }
});

test("vLLM: scoring reads the continuation's tokens at their places, in the order of the contexts", async (context) => {
  const { peer } = await startVllm(context);
  const engine = await connectRemoteEngine(`vllm+${peer.url}`, QUICK);
  const result = await engine.score({ contexts: [{ text: "abc" }, { tokens: [9] }], continuation: { text: "xy" } });
  assert.deepEqual(result.continuationTokenIds, [120, 121]);
  const expected = [4, 1].map((start) => [scriptedLogprob(120, start), scriptedLogprob(121, start + 1)]);
  assert.deepEqual(
    result.scores.map(({ tokenLogprobs }) => tokenLogprobs),
    expected,
  );
  assert.deepEqual(
    result.scores.map(({ contextTokens }) => contextTokens),
    [4, 1],
  );
  assert.equal(result.scores[0].logprob, expected[0][0] + expected[0][1]);
});

test("vLLM: a continuation without tokens is refused", async (context) => {
  const { peer } = await startVllm(context);
  const engine = await connectRemoteEngine(`vllm+${peer.url}`, QUICK);
  const score = engine.score({ contexts: [{ text: "abc" }], continuation: { text: "" } });
  await assert.rejects(score, refusedAs("invalid_request"));
});

test("vLLM: refusals keep their meaning, in the new shape and in the old one", async (context) => {
  const { peer, handler } = await startVllm(context);
  const engine = await connectRemoteEngine(`vllm+${peer.url}`, QUICK);
  const context64 = "This model's maximum context length is 64 tokens. However, you requested 90 tokens";
  const cases: [number, unknown, string][] = [
    [400, { error: { message: context64, type: "BadRequestError", param: null, code: 400 } }, "context_too_long"],
    [400, { object: "error", message: context64, type: "BadRequestError", code: 400 }, "context_too_long"],
    [400, { error: { message: "temperature must be non-negative", type: "BadRequestError" } }, "invalid_request"],
    [429, { error: { message: "slow down" } }, "overloaded"],
    [500, { error: { message: "CUDA error" } }, "failed"],
    [503, "<html>Service Unavailable</html>", "unavailable"],
  ];
  for (const [status, body, code] of cases) {
    peer.script((request, reply) => {
      if (request.path !== "/v1/completions") return handler(request, reply);
      return typeof body === "string" ? reply.text(body, status) : reply.json(body, status);
    });
    await assert.rejects(collect(engine.generate({ prompt: { text: "a" }, maxTokens: 1 })), refusedAs(code));
  }
});
