import assert from "node:assert/strict";
import { test } from "node:test";
import { renderPrometheus } from "../../../../operator/engine/metrics.ts";
import { connectRemoteEngine, isRemoteEngineAddress } from "../../../../operator/engine/remote/connect.ts";
import { refusedAs } from "./refused-as.ts";
import { collect, type Handler, QUICK, startPeer } from "./scripted-peer.ts";
import { startVllm } from "./vllm-peer.ts";

test("an address is told from a folder or a hub name", () => {
  for (const address of ["vllm+http://h:8000", "sglang+https://h", "lorax+http://h", "llamacpp+http://h", "http://h"]) {
    assert.equal(isRemoteEngineAddress(address), true, address);
  }
  for (const other of ["/models/base", "org/base", "vllm", "tgi+http://h", "ftp://h", "constructor+http://h"]) {
    assert.equal(isRemoteEngineAddress(other), false, other);
  }
});

test("a plain address is asked what it is", async (context) => {
  const card = (owned_by: string) => ({ data: [{ id: "base", owned_by, max_model_len: 32 }] });
  const props = { default_generation_settings: { n_ctx: 32 }, model_path: "base" };
  const servers: [string, Handler][] = [
    ["vllm", ({ path }, reply) => (path === "/v1/models" ? reply.json(card("vllm")) : reply.text("", 404))],
    ["sglang", ({ path }, reply) => (path === "/v1/models" ? reply.json(card("sglang")) : reply.text("", 404))],
    ["llama.cpp", ({ path }, reply) => reply.json(path === "/v1/models" ? card("llamacpp") : props)],
    [
      "lorax",
      ({ path }, reply) =>
        path === "/info" ? reply.json({ model_id: "base", max_total_tokens: 32 }) : reply.text("", 404),
    ],
  ];
  for (const [kind, handler] of servers) {
    const peer = await startPeer(context, handler);
    const info = await (await connectRemoteEngine(peer.url, QUICK)).info();
    assert.deepEqual([info.kind, info.model, info.maxContextTokens], [kind, "base", 32]);
  }
});

test("a server of no known kind, a broken address and a key inside an address are refused", async (context) => {
  const peer = await startPeer(context, (_, reply) => reply.json({ data: [{ id: "m", owned_by: "someone" }] }));
  for (const address of [peer.url, "vllm+http://", "vllm+http://user:key@h:1", "tgi+http://h"]) {
    await assert.rejects(connectRemoteEngine(address, QUICK), refusedAs("invalid_request"), address);
  }
});

test("metrics carry the names that dashboards know", async (context) => {
  const { peer, adapters } = await startVllm(context);
  adapters.set("tales", "/tales");
  const engine = await connectRemoteEngine(`vllm+${peer.url}`, QUICK);
  await collect(engine.generate({ prompt: { text: "a" }, maxTokens: 3 }));
  const refused = collect(engine.generate({ prompt: { text: "a" }, adapters: [{ id: "x" }] }));
  await assert.rejects(refused, refusedAs("unknown_adapter"));
  const text = renderPrometheus(await engine.metrics());
  assert.match(text, /^vllm:generation_tokens_total\{model_name="base",engine="vllm"\} 3$/m);
  assert.match(text, /^vllm:time_to_first_token_seconds_count\{.*\} 1$/m);
  assert.match(text, /^vllm:inter_token_latency_seconds_count\{.*\} 2$/m);
  assert.match(text, /^vllm:num_requests_running\{.*\} 0$/m);
  assert.match(text, /^openledger:remote_errors_total\{.*code="unknown_adapter"\} 1$/m);
});
