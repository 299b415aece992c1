import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { connectRemoteEngine } from "../../../../operator/engine/remote/connect.ts";
import { refusedAs } from "./refused-as.ts";
import { collect, type Handler, only, QUICK, startPeer } from "./scripted-peer.ts";
import { byteTokens, scriptedLogprob } from "./vllm-peer.ts";

type Body = Parameters<Handler>[0]["body"];
type Reply = Parameters<Handler>[1];

/** A server that behaves as SGLang documents; `incremental` as with `--incremental-streaming-output`. */
async function startSglang(context: TestContext, incremental = false) {
  const adapters = new Map<string, string>();
  const peer = await startPeer(context, ({ path, body }, reply) => {
    if (path === "/v1/models") {
      const base = { id: "base", owned_by: "sglang", root: "org/base", parent: null, max_model_len: 64 };
      const cards = [...adapters].map(([id, root]) => ({ id, root, parent: "base", owned_by: "sglang" }));
      return reply.json({ object: "list", data: [base, ...cards] });
    }
    if (path === "/tokenize") {
      return reply.json({ tokens: byteTokens(body.prompt, body.add_special_tokens), count: 1, max_model_len: 64 });
    }
    const loaded = () => Object.fromEntries(adapters);
    if (path === "/load_lora_adapter") {
      const broken = body.lora_path.includes("broken");
      // A failed load leaves the adapter with some of the workers.
      adapters.set(body.lora_name, broken ? "half" : body.lora_path);
      const error_message = broken ? "LoRA rank 512 exceeds max_lora_rank 64" : "";
      return reply.json({ success: !broken, error_message, loaded_adapters: loaded() }, broken ? 400 : 200);
    }
    if (path === "/unload_lora_adapter") {
      const success = adapters.delete(body.lora_name);
      const error_message = success ? "" : "LoRA adapter is not loaded";
      return reply.json({ success, error_message, loaded_adapters: loaded() }, success ? 200 : 400);
    }
    const name = Array.isArray(body.lora_path) ? body.lora_path[0] : body.lora_path;
    if (name !== undefined && !adapters.has(name)) {
      const message = `Got LoRA adapter that has never been loaded: ${name}`;
      return reply.json({ error: { message } }, 400);
    }
    if (path === "/v1/chat/completions") return chat(body, name ?? "base", reply);
    if (body.stream) return stream(body, name ?? "base", incremental, reply);
    return reply.json(body.input_ids.map((ids: number[], i: number) => scored(ids, body.logprob_start_len[i])));
  });
  return { peer, adapters };
}

function stream(body: Body, name: string, incremental: boolean, reply: Reply): void {
  const pieces = [name, " says", " hi.", "STOP"];
  const entries = pieces.map((text, i) => [-0.5 - i, 1000 + i, text]);
  reply.stream();
  for (let count = 1; count <= pieces.length; count++) {
    const from = incremental ? count - 1 : 0;
    const last = count === pieces.length;
    const stopped = body.sampling_params.stop?.includes("STOP");
    reply.event({
      text: pieces.slice(from, count).join(""),
      output_ids: entries.slice(from, count).map(([, id]) => id),
      meta_info: {
        id: "r",
        finish_reason: last ? (stopped ? { type: "stop", matched: "STOP" } : { type: "length", length: 4 }) : null,
        prompt_tokens: 3,
        completion_tokens: count,
        cached_tokens: 1,
        ...(body.return_logprob && {
          output_token_logprobs: entries.slice(from, count),
          output_top_logprobs: entries.slice(from, count).map((entry) => [entry, [-9, 7, "no"]]),
        }),
      },
    });
  }
  reply.event("[DONE]");
  reply.end();
}

function scored(ids: number[], start: number) {
  const entries = ids.slice(start).map((id, i) => [i === 0 ? null : scriptedLogprob(id, start + i), id, null]);
  return { text: "", meta_info: { input_token_logprobs: entries, cached_tokens: 2, prompt_tokens: ids.length } };
}

function chat(body: Body, name: string, reply: Reply): void {
  const content = {
    token: name,
    logprob: -0.25,
    bytes: null,
    top_logprobs: [{ token: "x", logprob: -1, bytes: null }],
  };
  const choice = { index: 0, delta: { role: "assistant", content: name }, finish_reason: null };
  reply.stream();
  reply.event({ choices: [{ ...choice, logprobs: body.logprobs ? { content: [content] } : null }] });
  reply.event({ choices: [{ index: 0, delta: {}, finish_reason: "stop", matched_stop: 2 }] });
  reply.event({ choices: [], usage: { prompt_tokens: 9, completion_tokens: 1 } });
  reply.event("[DONE]");
  reply.end();
}

for (const incremental of [false, true]) {
  const form = incremental ? "what is new" : "all so far";
  test(`SGLang: a stream that sends ${form} gives text, ids and log-probabilities once`, async (context) => {
    const { peer } = await startSglang(context, incremental);
    const engine = await connectRemoteEngine(`sglang+${peer.url}`, QUICK);
    const sampling = { temperature: 0 };
    const answer = await collect(engine.generate({ prompt: { text: "a" }, maxTokens: 4, logprobs: 1, sampling }));
    assert.deepEqual(answer.texts, ["base says hi.STOP"]);
    assert.deepEqual(answer.tokenIds, [[1000, 1001, 1002, 1003]]);
    const logprobs = answer.events.flatMap((event) => (event.type === "token" ? [event.logprob] : []));
    assert.deepEqual(
      logprobs.map((entry) => entry?.logprob),
      [-0.5, -1.5, -2.5, -3.5],
    );
    assert.deepEqual(
      logprobs[1]?.top.map(({ tokenId, token }) => [tokenId, token]),
      [[1001, " says"]],
    );
    assert.equal(only(answer, "finish").reason, "length");
    assert.deepEqual(only(answer, "done").usage, { promptTokens: 3, cachedTokens: 1, completionTokens: 4 });
  });
}

test("SGLang: stop strings are no part of the text", async (context) => {
  const { peer } = await startSglang(context);
  const engine = await connectRemoteEngine(`sglang+${peer.url}`, QUICK);
  const answer = await collect(engine.generate({ prompt: { tokens: [1] }, stop: ["STOP"] }));
  assert.deepEqual(answer.texts, ["base says hi."]);
  assert.equal(only(answer, "finish").stopString, "STOP");
  const { body } = peer.to("/generate")[0];
  assert.equal(body.sampling_params.max_new_tokens, null);
  assert.deepEqual(body.input_ids, [1]);
});

test("SGLang: an adapter is loaded, pinned where asked, selected and unloaded", async (context) => {
  const { peer, adapters } = await startSglang(context);
  const engine = await connectRemoteEngine(`sglang+${peer.url}`, QUICK);
  await engine.loadAdapter({ id: "law", path: "/law", pinned: true });
  assert.equal(peer.to("/load_lora_adapter")[0].body.pinned, true);
  const [name] = adapters.keys();
  const answer = await collect(engine.generate({ prompt: { text: "a" }, maxTokens: 4, adapters: [{ id: "law" }] }));
  assert.equal(answer.texts[0], `${name} says hi.STOP`);
  const messages = [{ role: "user", content: "Hi" }];
  const spoken = await collect(engine.generate({ prompt: { messages }, logprobs: 1, adapters: [{ id: "law" }] }));
  assert.equal(spoken.texts[0], name);
  assert.deepEqual(only(spoken, "done").usage, { promptTokens: 9, cachedTokens: 0, completionTokens: 1 });
  await engine.unloadAdapter("law");
  assert.equal(adapters.size, 0);
});

test("SGLang: a load that failed half-way is taken back from the workers", async (context) => {
  const { peer, adapters } = await startSglang(context);
  const engine = await connectRemoteEngine(`sglang+${peer.url}`, QUICK);
  await assert.rejects(engine.loadAdapter({ id: "b", path: "/broken" }), refusedAs("adapter_failed"));
  assert.equal(adapters.size, 0);
});

test("SGLang: an adapter that the server does not have is refused, before and after the server is asked", async (context) => {
  const { peer, adapters } = await startSglang(context);
  const engine = await connectRemoteEngine(`sglang+${peer.url}`, QUICK);
  const request = { prompt: { text: "a" }, adapters: [{ id: "nobody" }] };
  await assert.rejects(collect(engine.generate(request)), refusedAs("unknown_adapter"));
  assert.equal(peer.to("/generate").length, 0);
  await engine.loadAdapter({ id: "law", path: "/law" });
  adapters.clear();
  const answer = await collect(engine.generate({ prompt: { text: "a" }, adapters: [{ id: "law" }] }));
  assert.match(answer.texts[0], /^law@/, "a restarted server is given the adapter again");
});

test("SGLang: scoring aligns the log-probabilities with the continuation", async (context) => {
  const { peer } = await startSglang(context);
  const engine = await connectRemoteEngine(`sglang+${peer.url}`, QUICK);
  const result = await engine.score({ contexts: [{ text: "abc" }, { tokens: [9] }], continuation: { tokens: [5, 6] } });
  const expected = [4, 1].map((start) => [scriptedLogprob(5, start), scriptedLogprob(6, start + 1)]);
  assert.deepEqual(
    result.scores.map(({ tokenLogprobs }) => tokenLogprobs),
    expected,
  );
  assert.deepEqual(result.usage, { promptTokens: 9, cachedTokens: 4, completionTokens: 0 });
});

test("SGLang: log-probabilities that it would give after temperature are refused", async (context) => {
  const { peer } = await startSglang(context);
  const engine = await connectRemoteEngine(`sglang+${peer.url}`, QUICK);
  const request = { prompt: { text: "a" }, logprobs: 0, sampling: { temperature: 0.7 } };
  await assert.rejects(collect(engine.generate(request)), refusedAs("unsupported"));
});

test("SGLang: an aborted request and text that is taken back are errors", async (context) => {
  const { peer } = await startSglang(context);
  const engine = await connectRemoteEngine(`sglang+${peer.url}`, QUICK);
  const meta = (tokens: number, finish: unknown) => ({
    completion_tokens: tokens,
    prompt_tokens: 1,
    finish_reason: finish,
  });
  const abort = { type: "abort", message: "out of memory", status_code: 503 };
  const scripts: [unknown[], string][] = [
    [[{ text: "a", meta_info: meta(1, abort) }], "unavailable"],
    [
      [
        { text: "ab", meta_info: meta(1, null) },
        { text: "ax", meta_info: meta(2, null) },
      ],
      "failed",
    ],
    [[{ text: "a" }], "failed"],
    [[{ error: { message: "The input is longer than the model's context length" } }], "context_too_long"],
  ];
  for (const [events, code] of scripts) {
    peer.script((_, reply) => {
      reply.stream();
      for (const event of events) reply.event(event);
      reply.event("[DONE]");
      reply.end();
    });
    await assert.rejects(collect(engine.generate({ prompt: { text: "a" } })), refusedAs(code));
  }
});
