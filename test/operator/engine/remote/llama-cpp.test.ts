import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { connectRemoteEngine } from "../../../../operator/engine/remote/connect.ts";
import { refusedAs } from "./refused-as.ts";
import { collect, type Handler, only, QUICK, startPeer } from "./scripted-peer.ts";

type Body = Parameters<Handler>[0]["body"];
type Reply = Parameters<Handler>[1];

const ADAPTERS = [
  { id: 0, path: "/srv/law.gguf", scale: 1 },
  { id: 1, path: "/srv/tales.gguf", scale: 1 },
];

/**
 * A server that behaves as llama.cpp's: it answers with the scales that it applied, adapters that a request leaves out
 * keep their own where the list is empty (else zero), and ids that it does not know are ignored.
 */
async function startLlama(context: TestContext, adapters = ADAPTERS) {
  return startPeer(context, ({ path, body }, reply) => {
    if (path === "/props") {
      return reply.json({ default_generation_settings: { n_ctx: 64 }, model_path: "/srv/base.gguf", build_info: "b1" });
    }
    if (path === "/lora-adapters") return reply.json(adapters);
    if (path === "/apply-template") return reply.json({ prompt: `<${body.messages[0].content}>` });
    if (path === "/completion") return complete(body, adapters, reply);
    return reply.json({ error: { code: 404, message: "File Not Found", type: "not_found_error" } }, 404);
  });
}

function complete(body: Body, adapters: typeof ADAPTERS, reply: Reply): void {
  const asked = new Map<number, number>(body.lora?.map((item: { id: number; scale: number }) => [item.id, item.scale]));
  const lora = adapters.map(({ id, scale }) => ({
    id,
    scale: (body.lora ?? []).length === 0 ? scale : (asked.get(id) ?? 0),
  }));
  const texts = [lora.map(({ scale }) => scale).join("/"), " seed", ` ${body.seed}`];
  reply.stream();
  for (const [i, content] of texts.entries()) {
    const bytes = [...Buffer.from(content)];
    const top = [{ id: 1000 + i, token: content, bytes, logprob: -0.5 }];
    const probabilities = [{ id: 1000 + i, token: content, bytes, logprob: -0.5, top_logprobs: top }];
    reply.event({
      content,
      tokens: [1000 + i],
      stop: false,
      ...(body.n_probs && { completion_probabilities: probabilities }),
    });
  }
  reply.event({
    content: "",
    tokens: [],
    stop: true,
    stop_type: "limit",
    stopping_word: "",
    tokens_evaluated: 5,
    tokens_predicted: 3,
    truncated: false,
    timings: { cache_n: 2 },
    generation_settings: { lora },
  });
  reply.end();
}

test("llama.cpp: text, ids, log-probabilities and usage come as the server sent them", async (context) => {
  const peer = await startLlama(context, []);
  const engine = await connectRemoteEngine(`llamacpp+${peer.url}`, QUICK);
  const answer = await collect(engine.generate({ prompt: { text: "a" }, logprobs: 0, sampling: { seed: 3 } }));
  assert.deepEqual(answer.texts, [" seed 3"]);
  assert.deepEqual(answer.tokenIds, [[1000, 1001, 1002]]);
  const token = answer.events.find((event) => event.type === "token");
  assert.ok(token?.type === "token");
  assert.deepEqual([token.logprob?.logprob, token.logprob?.top], [-0.5, []]);
  assert.equal(only(answer, "finish").reason, "length");
  assert.deepEqual(only(answer, "done").usage, { promptTokens: 5, cachedTokens: 2, completionTokens: 3 });
  const { body } = peer.to("/completion")[0];
  assert.deepEqual([body.top_k, body.top_p, body.min_p, body.repeat_penalty, body.temperature], [0, 1, 0, 1, 1]);
});

test("llama.cpp: the base model is asked for with every adapter at zero", async (context) => {
  const peer = await startLlama(context);
  const engine = await connectRemoteEngine(`llamacpp+${peer.url}`, QUICK);
  const answer = await collect(engine.generate({ prompt: { text: "a" }, sampling: { seed: 1 } }));
  assert.equal(answer.texts[0], "0/0 seed 1");
});

test("llama.cpp: one adapter by its file's name or its id here, and a weighted blend", async (context) => {
  const peer = await startLlama(context);
  const engine = await connectRemoteEngine(`llamacpp+${peer.url}`, QUICK);
  const text = async (adapters: { id: string; weight?: number }[]) =>
    (await collect(engine.generate({ prompt: { text: "a" }, adapters, sampling: { seed: 1 } }))).texts[0];
  assert.equal(await text([{ id: "tales" }]), "0/1 seed 1");
  await engine.loadAdapter({ id: "contracts", path: "/elsewhere/law.gguf" });
  assert.equal(await text([{ id: "contracts" }]), "1/0 seed 1");
  assert.equal(
    await text([
      { id: "contracts", weight: 0.5 },
      { id: "tales", weight: 2 },
    ]),
    "0.5/2 seed 1",
  );
});

test("llama.cpp: an id that it does not have is refused and nothing is generated", async (context) => {
  const peer = await startLlama(context);
  const engine = await connectRemoteEngine(`llamacpp+${peer.url}`, QUICK);
  const request = { prompt: { text: "a" }, adapters: [{ id: "nobody" }] };
  await assert.rejects(collect(engine.generate(request)), refusedAs("unknown_adapter"));
  await assert.rejects(engine.loadAdapter({ id: "n", path: "/srv/nobody.gguf" }), refusedAs("unknown_adapter"));
  assert.equal(peer.to("/completion").length, 0);
});

test("llama.cpp: a server restarted with other adapters is noticed before it answers", async (context) => {
  const list = [...ADAPTERS];
  const peer = await startLlama(context, list);
  const engine = await connectRemoteEngine(`llamacpp+${peer.url}`, QUICK);
  await engine.loadAdapter({ id: "law", path: "/srv/law.gguf" });
  list.splice(0, 1);
  const request = { prompt: { text: "a" }, adapters: [{ id: "law" }] };
  await assert.rejects(collect(engine.generate(request)), refusedAs("unknown_adapter"));
  assert.equal(peer.to("/completion").length, 0);
});

test("llama.cpp: two adapters of one file name are not guessed between", async (context) => {
  const peer = await startLlama(context, [ADAPTERS[0], { id: 1, path: "/other/law.gguf", scale: 1 }]);
  const engine = await connectRemoteEngine(`llamacpp+${peer.url}`, QUICK);
  const request = { prompt: { text: "a" }, adapters: [{ id: "law" }] };
  await assert.rejects(collect(engine.generate(request)), refusedAs("unknown_adapter"));
  const info = await engine.loadAdapter({ id: "mine", path: "/other/law.gguf" });
  assert.equal(info.path, "/other/law.gguf");
});

test("llama.cpp: an answer whose settings show another scale is an error", async (context) => {
  const peer = await startLlama(context);
  const engine = await connectRemoteEngine(`llamacpp+${peer.url}`, QUICK);
  peer.script(({ path, body }, reply) => {
    if (path === "/lora-adapters") return reply.json(ADAPTERS);
    return complete({ ...body, lora: [{ id: 0, scale: 0 }] }, ADAPTERS, reply);
  });
  const request = { prompt: { text: "a" }, adapters: [{ id: "law" }] };
  await assert.rejects(collect(engine.generate(request)), refusedAs("failed"));
});

test("llama.cpp: chat goes through the server's template, choices are several requests", async (context) => {
  const peer = await startLlama(context, []);
  const engine = await connectRemoteEngine(`llamacpp+${peer.url}`, QUICK);
  const messages = [{ role: "user", content: "Hi" }];
  const answer = await collect(engine.generate({ prompt: { messages }, n: 2, sampling: { seed: 5 } }));
  assert.deepEqual(answer.texts, [" seed 5", " seed 6"]);
  assert.equal(peer.to("/completion")[0].body.prompt, "<Hi>");
});

test("llama.cpp: a prompt that does not fit, a cut prompt and an error in the stream keep their meaning", async (context) => {
  const peer = await startLlama(context, []);
  const engine = await connectRemoteEngine(`llamacpp+${peer.url}`, QUICK);
  const final = { content: "", stop: true, stop_type: "limit", tokens_evaluated: 5, tokens_predicted: 0 };
  const exceeded = { code: 400, message: "the request exceeds n_ctx", type: "exceed_context_size_error" };
  const scripts: [(reply: Reply) => void, string][] = [
    [(reply) => reply.json({ error: exceeded }, 400), "context_too_long"],
    [(reply) => [reply.stream(), reply.event({ ...final, truncated: true }), reply.end()], "context_too_long"],
    [(reply) => [reply.stream(), reply.raw('error: {"code":500,"message":"oops"}\n\n'), reply.end()], "failed"],
    [(reply) => [reply.stream(), reply.event({ error: { code: 503, message: "gone" } }), reply.end()], "unavailable"],
    [(reply) => [reply.stream(), reply.event({ ...final, stop_type: "weird" }), reply.end()], "failed"],
  ];
  for (const [script, code] of scripts) {
    peer.script(({ path }, reply) => (path === "/lora-adapters" ? reply.json([]) : script(reply)));
    await assert.rejects(collect(engine.generate({ prompt: { text: "a" } })), refusedAs(code));
  }
});

test("llama.cpp: scoring is refused, because it gives no log-probabilities of a prompt", async (context) => {
  const peer = await startLlama(context, []);
  const engine = await connectRemoteEngine(`llamacpp+${peer.url}`, QUICK);
  assert.equal((await engine.info()).supports.scoring, false);
  const score = engine.score({ contexts: [{ text: "a" }], continuation: { text: "b" } });
  await assert.rejects(score, refusedAs("unsupported"));
});
