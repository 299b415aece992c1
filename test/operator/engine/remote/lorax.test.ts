import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { GenerateRequest } from "../../../../operator/engine/engine.ts";
import { connectRemoteEngine } from "../../../../operator/engine/remote/connect.ts";
import { refusedAs } from "./refused-as.ts";
import { collect, type Handler, only, QUICK, startPeer } from "./scripted-peer.ts";
import { byteTokens, scriptedLogprob } from "./vllm-peer.ts";

type Body = Parameters<Handler>[0]["body"];
type Reply = Parameters<Handler>[1];

/** A server that behaves as LoRAX does: adapters are read when a request names them, under paths with "good" in them. */
async function startLorax(context: TestContext) {
  return startPeer(context, ({ path, body }, reply) => {
    if (path === "/info") return reply.json({ model_id: "base", max_total_tokens: 64, version: "0.12" });
    if (path === "/tokenize") {
      return reply.json(
        byteTokens(body.inputs, body.add_special_tokens).map((id) => ({ id, text: "", start: 0, stop: 1 })),
      );
    }
    const adapter: string | undefined = body.parameters?.adapter_id ?? (body.model === "base" ? undefined : body.model);
    if (adapter !== undefined && !adapter.includes("good")) {
      const error = "Request failed during generation: Server error: no adapter_config.json";
      return reply.json({ error, error_type: "generation" }, 424);
    }
    if (path === "/generate") return reply.json(generated(body));
    if (path === "/generate_stream") return stream(body, adapter ?? "base", reply);
    if (path === "/v1/chat/completions") return chat(adapter ?? "base", reply);
    return reply.text("", 404);
  });
}

function generated(body: Body) {
  const ids = byteTokens(body.inputs, true);
  const prefill = ids.map((id, i) => ({ id, text: "", logprob: i === 0 ? null : scriptedLogprob(id, i) }));
  return { generated_text: "x", details: { finish_reason: "length", prompt_tokens: ids.length, prefill, tokens: [] } };
}

function stream(body: Body, name: string, reply: Reply): void {
  const { parameters } = body;
  const texts = [name, ` seed ${parameters.seed ?? "none"}`, "</s>"];
  reply.stream();
  for (const [i, text] of texts.entries()) {
    const last = i === texts.length - 1;
    const alternatives = parameters.return_k_alternatives && [{ id: 1, text: "other", logprob: -2 }];
    const token = {
      id: 1000 + i,
      text,
      logprob: -0.5,
      special: last,
      ...(alternatives && { alternative_tokens: alternatives }),
    };
    const details = { finish_reason: "eos_token", prompt_tokens: 3, generated_tokens: 3, seed: null };
    // As its framework writes events: no space after the colon.
    reply.raw(
      `data:${JSON.stringify({ token, generated_text: last ? "all" : null, details: last ? details : null })}\n\n`,
    );
  }
  reply.end();
}

function chat(name: string, reply: Reply): void {
  reply.stream();
  reply.event({ choices: [{ index: 0, delta: { role: "assistant", content: name }, finish_reason: null }] });
  const usage = { prompt_tokens: 5, completion_tokens: 2, total_tokens: 7 };
  reply.event({ choices: [{ index: 0, delta: { content: "!" }, finish_reason: "eos_token" }], usage });
  reply.end();
}

test("LoRAX: text, ids and plain log-probabilities; special tokens are no text", async (context) => {
  const peer = await startLorax(context);
  const engine = await connectRemoteEngine(`lorax+${peer.url}`, QUICK);
  const sampling = { temperature: 0, seed: 4 };
  const answer = await collect(engine.generate({ prompt: { text: "a" }, maxTokens: 3, logprobs: 1, sampling }));
  assert.deepEqual(answer.texts, ["base seed 4"]);
  assert.deepEqual(answer.tokenIds, [[1000, 1001, 1002]]);
  const token = answer.events.find((event) => event.type === "token");
  assert.ok(token?.type === "token");
  assert.deepEqual(
    token.logprob?.top.map(({ token: text }) => text),
    ["other"],
  );
  assert.deepEqual(only(answer, "done").usage, { promptTokens: 3, cachedTokens: 0, completionTokens: 3 });
  const { parameters } = peer.to("/generate_stream")[0].body;
  assert.deepEqual(
    [parameters.do_sample, parameters.temperature, parameters.adapter_id],
    [false, undefined, undefined],
  );
});

test("LoRAX: an adapter is tried out when it is loaded, and selected by its path and source", async (context) => {
  const peer = await startLorax(context);
  const engine = await connectRemoteEngine(`lorax+${peer.url}`, QUICK);
  await engine.loadAdapter({ id: "law", path: "/srv/good" });
  await engine.loadAdapter({ id: "tales", path: "hub:org/good" });
  const tried = peer.to("/generate").map(({ body }) => [body.parameters.adapter_id, body.parameters.adapter_source]);
  assert.deepEqual(tried, [
    ["/srv/good", "local"],
    ["org/good", "hub"],
  ]);
  const answer = await collect(engine.generate({ prompt: { text: "a" }, adapters: [{ id: "tales" }] }));
  assert.match(answer.texts[0], /^org\/good seed/);
  const messages = [{ role: "user", content: "Hi" }];
  const spoken = await collect(engine.generate({ prompt: { messages }, adapters: [{ id: "law" }] }));
  assert.deepEqual(spoken.texts, ["/srv/good!"]);
  const { body } = peer.to("/v1/chat/completions")[0];
  assert.deepEqual([body.adapter_source, body.n], ["local", 1], "without n its chat would answer greedily");
});

test("LoRAX: an adapter that fails to load answers 424 and is refused", async (context) => {
  const peer = await startLorax(context);
  const engine = await connectRemoteEngine(`lorax+${peer.url}`, QUICK);
  await assert.rejects(engine.loadAdapter({ id: "b", path: "/srv/bad" }), refusedAs("adapter_failed"));
  const request = { prompt: { text: "a" }, adapters: [{ id: "b" }] };
  await assert.rejects(collect(engine.generate(request)), refusedAs("unknown_adapter"));
  assert.equal(peer.to("/generate_stream").length, 0);
});

test("LoRAX: an adapter that breaks later fails its own request", async (context) => {
  const peer = await startLorax(context);
  const engine = await connectRemoteEngine(`lorax+${peer.url}`, QUICK);
  await engine.loadAdapter({ id: "law", path: "/srv/good" });
  const request = { prompt: { text: "a" }, adapters: [{ id: "law" }] };
  const error = "Request failed during generation: adapter shapes differ";
  peer.script((_, reply) => reply.json({ error, error_type: "generation" }, 424));
  await assert.rejects(collect(engine.generate(request)), refusedAs("adapter_failed"));
  peer.script((_, reply) => {
    reply.stream();
    reply.event({ error, error_type: "generation" });
    reply.end();
  });
  await assert.rejects(collect(engine.generate(request)), refusedAs("adapter_failed"));
  peer.script((_, reply) => reply.json({ error: "Model is overloaded", error_type: "overloaded" }, 429));
  await assert.rejects(collect(engine.generate(request)), refusedAs("overloaded"));
});

test("LoRAX: several choices are several requests with seeds of their own", async (context) => {
  const peer = await startLorax(context);
  const engine = await connectRemoteEngine(`lorax+${peer.url}`, QUICK);
  const answer = await collect(engine.generate({ prompt: { text: "a" }, n: 3, sampling: { seed: 10 } }));
  assert.deepEqual(answer.texts, ["base seed 10", "base seed 11", "base seed 12"]);
  assert.deepEqual(only(answer, "done").usage, { promptTokens: 3, cachedTokens: 0, completionTokens: 9 });
});

test("LoRAX: what it cannot do is refused, not left out", async (context) => {
  const peer = await startLorax(context);
  const engine = await connectRemoteEngine(`lorax+${peer.url}`, QUICK);
  const prompt = { text: "a" };
  const requests: GenerateRequest[] = [
    { prompt: { tokens: [1] } },
    { prompt, sampling: { minP: 0.1 } },
    { prompt, sampling: { presencePenalty: 1 } },
    { prompt, sampling: { logitBias: { "1": 2 } } },
    { prompt, responseFormat: { type: "json_object" } },
    { prompt, logprobs: 0 },
    { prompt: { messages: [{ role: "user", content: "a" }] }, logprobs: 0, sampling: { temperature: 0 } },
  ];
  for (const request of requests) {
    await assert.rejects(collect(engine.generate(request)), refusedAs("unsupported"), JSON.stringify(request));
  }
  assert.equal(peer.to("/generate_stream").length, 0);
});

test("LoRAX: scoring reads the prompt's tail, and refuses tokens that join across the border", async (context) => {
  const peer = await startLorax(context);
  const engine = await connectRemoteEngine(`lorax+${peer.url}`, QUICK);
  const result = await engine.score({ contexts: [{ text: "abc" }, { text: "" }], continuation: { text: "xy" } });
  const expected = [4, 1].map((start) => [scriptedLogprob(120, start), scriptedLogprob(121, start + 1)]);
  assert.deepEqual(
    result.scores.map(({ tokenLogprobs }) => tokenLogprobs),
    expected,
  );
  assert.deepEqual(
    result.scores.map(({ contextTokens }) => contextTokens),
    [4, 1],
  );
  peer.script(({ path, body }, reply) => {
    if (path === "/tokenize") return reply.json([{ id: 1 }]);
    return reply.json(generated(body));
  });
  const joined = engine.score({ contexts: [{ text: "abc" }], continuation: { text: "x" } });
  await assert.rejects(joined, refusedAs("unsupported"));
});

const piece = (text: string) => ({
  token: { id: 1, text, logprob: -1, special: false },
  generated_text: null,
  details: null,
});

test("leaving the loop ends the connections of all choices", async (context) => {
  const peer = await startLorax(context);
  const engine = await connectRemoteEngine(`lorax+${peer.url}`, { ...QUICK, timeouts: { idle: 60_000 } });
  const gone: Promise<void>[] = [];
  peer.script((_, reply) => {
    gone.push(reply.gone());
    reply.stream();
    reply.event(piece("a"));
  });
  for await (const event of engine.generate({ prompt: { text: "a" }, n: 2 })) {
    if (event.type === "token" && event.choice === 1) break;
  }
  assert.equal((await Promise.all(gone)).length, 2);
});

test("a choice that breaks while nobody reads fails the request, not the process", async (context) => {
  const peer = await startLorax(context);
  const engine = await connectRemoteEngine(`lorax+${peer.url}`, QUICK);
  const broken = Promise.withResolvers<void>();
  peer.script(async (_, reply) => {
    reply.stream();
    reply.event(piece("a"));
    await broken.promise;
    reply.cut();
  });
  const run = (async () => {
    for await (const event of engine.generate({ prompt: { text: "a" }, n: 2 })) {
      if (event.type !== "token") continue;
      broken.resolve();
      await new Promise((resolve) => setTimeout(resolve, 30));
    }
  })();
  await assert.rejects(run, refusedAs("unavailable"));
});

test("a choice that fails ends the others, however silent they are", async (context) => {
  const peer = await startLorax(context);
  const engine = await connectRemoteEngine(`lorax+${peer.url}`, { ...QUICK, timeouts: { idle: 60_000 } });
  const gone = Promise.withResolvers<void>();
  let requests = 0;
  peer.script((_, reply) => {
    reply.stream();
    reply.event(piece("a"));
    if (requests++ === 0) return void reply.gone().then(gone.resolve);
    reply.event({ error: "Request failed during generation", error_type: "generation" });
    reply.end();
  });
  await assert.rejects(collect(engine.generate({ prompt: { text: "a" }, n: 2 })), refusedAs("failed"));
  await gone.promise;
});
