import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { temporaryFolder } from "../engine/adapters/tiny-adapter.ts";
import { startVllm } from "../engine/remote/vllm-peer.ts";
import { adapter, brokenAdapter, MODEL } from "../engine/worker/tiny-model.ts";

const LAUNCHER = fileURLToPath(new URL("../../../operator/cli/openledger.js", import.meta.url));
const home = temporaryFolder();

function start(args: readonly string[]): ChildProcess {
  return spawn(process.execPath, [LAUNCHER, "engine", ...args], { env: { ...process.env, HOME: home } });
}

async function run(args: readonly string[], input = ""): Promise<{ code: number; out: string; err: string }> {
  const child = start(args);
  child.stdin!.end(input);
  const [out, err] = [child.stdout!, child.stderr!].map((stream) => stream.setEncoding("utf8").toArray());
  const code = await new Promise<number>((resolve) => child.on("close", resolve));
  return { code, out: (await out).join(""), err: (await err).join("") };
}

const generate = ["generate", "--model", MODEL, "--prompt", "Hello there", "--max-tokens", "12"];

test("generate --json gives one object with text, tokens, log-probabilities and times", async () => {
  const { code, out, err } = await run([...generate, "--temperature", "0", "--raw", "--json"]);
  assert.equal(code, 0, err);
  const answer = JSON.parse(out);
  assert.equal(answer.tokenIds.length, 12);
  assert.equal(answer.logprobs.length, 12);
  assert.ok(answer.logprobs.every((logprob: number) => logprob < 0));
  assert.equal(answer.finishReason, "length");
  assert.ok(answer.promptTokenIds.length > 0 && answer.text.length > 0 && answer.timings.totalMs > 0);
  const text = await run([...generate, "--temperature", "0", "--raw"]);
  assert.equal(text.out, `${answer.text}\n`, "without --json standard output is the text alone");
  assert.match(text.err, /weightBytes [\d.]+ MiB/, "what was chosen is said on the error stream");
});

test("--raw and --chat choose how the prompt is put; only one of them may be given", async () => {
  const prompt = async (...flags: string[]) =>
    JSON.parse((await run([...generate, "--json", ...flags])).out).promptTokenIds as number[];
  const [raw, chat, plain] = [await prompt("--raw"), await prompt("--chat"), await prompt()];
  assert.ok(chat.length > raw.length);
  assert.deepEqual(plain, chat, "a model with a template is asked through it");
  const both = await run([...generate, "--raw", "--chat"]);
  assert.equal(both.code, 2);
  assert.match(both.err, /--raw.*cannot be used with.*--chat/);
});

test("adapters and their weights change the answer, in any rank", async () => {
  const path = adapter(1, 24);
  const ids = async (...flags: string[]) =>
    JSON.parse((await run([...generate, "--temperature", "0", "--json", ...flags])).out).tokenIds as number[];
  const base = await ids();
  const adapted = await ids("--adapter", path);
  assert.notDeepEqual(adapted, base);
  assert.deepEqual(await ids("--adapter", `${path}=0`), base);
  assert.deepEqual(await ids("--adapter", `${path}=0.25`, "--adapter", `${path}=0.75`), adapted);
});

test("--sparse leaves blocks out, and what is left out is said", async () => {
  const long = ["generate", "--model", MODEL, "--prompt", "Hello there ".repeat(60), "--max-tokens", "8", "--raw"];
  const answer = async (...flags: string[]) => {
    const { code, out, err } = await run([...long, "--temperature", "0", "--json", ...flags]);
    assert.equal(code, 0, err);
    return JSON.parse(out) as { promptTokenIds: number[]; logprobs: number[]; sparse?: unknown };
  };
  const [plain, same, less] = [await answer(), await answer("--sparse", "0,1000"), await answer("--sparse", "0,1,0")];
  assert.ok(plain.promptTokenIds.length > 128, "more than two blocks");
  assert.equal(plain.sparse, undefined);
  assert.deepEqual(less.sparse, { blockSize: 64, sinkBlocks: 0, localBlocks: 1, stride: 0 });
  assert.match((await run([...long, "--sparse", "0,1"])).err, /sparse 0,1,0/);
  assert.deepEqual(same.logprobs, plain.logprobs);
  assert.notDeepEqual(less.logprobs, plain.logprobs);
  for (const [given, message] of [
    ["1", /two or three whole numbers of blocks/],
    ["1,0", /sparse\.localBlocks is 0/],
  ] as const) {
    const { code, err } = await run([...long, "--sparse", given]);
    assert.equal(code, 2, err);
    assert.match(err, message);
  }
  const remote = await run(["generate", "--model", "vllm+http://127.0.0.1:1", "--prompt", "a", "--sparse", "1,4"]);
  assert.equal(remote.code, 2, remote.err);
  assert.match(remote.err, /--sparse is for a model folder/);
});

test("score gives the log-probability of a continuation and of each of its tokens", async () => {
  const args = ["score", "--model", MODEL, "--context", "Hello", "--continuation", " there", "--exact", "--json"];
  const { code, out } = await run(args);
  assert.equal(code, 0);
  const { logprob, tokenLogprobs } = JSON.parse(out);
  assert.ok(tokenLogprobs.length > 0);
  assert.ok(Math.abs(logprob - tokenLogprobs.reduce((a: number, b: number) => a + b, 0)) < 1e-9);
  const fromInput = await run(args.with(4, "-"), "Hello");
  assert.deepEqual(JSON.parse(fromInput.out), JSON.parse(out));
});

test("info says what a model is and what serving it takes, without loading it", async () => {
  const { code, out } = await run(["info", "--model", MODEL, "--adapter", adapter(2), "--json"]);
  assert.equal(code, 0);
  const facts = JSON.parse(out);
  assert.equal(facts.layers, 2);
  assert.match(facts.modelHash, /^[0-9a-f]{64}$/);
  assert.equal(facts.adapters[0].rank, 4);
  assert.ok(facts.settings.kvBytes > 0 && facts.settings.weightBytes > 0);
  assert.match((await run(["info", "--model", MODEL])).out, /kvBytes: [\d.]+ MiB/);
});

test("a server's address stands in the place of a model: it generates, scores and loads adapters there", async (context) => {
  const { peer, adapters } = await startVllm(context);
  const model = `vllm+${peer.url}`;
  const asked = ["generate", "--model", model, "--prompt", "Hey", "--raw", "--max-tokens", "5"];
  const plain = await run(asked);
  assert.deepEqual([plain.code, plain.out], [0, "base says hi\n"], plain.err);
  const path = adapter(2);
  const { code, out, err } = await run([...asked, "--adapter", path, "--json"]);
  assert.equal(code, 0, err);
  const [[name, loaded]] = adapters;
  assert.equal(loaded, path);
  assert.equal(JSON.parse(out).text, `${name} says hi`);
  const scored = await run(["score", "--model", model, "--context", "a", "--continuation", "bc", "--json"]);
  assert.equal(JSON.parse(scored.out).tokenLogprobs.length, 2, scored.err);
});

test("an answer follows the schema of a file", async () => {
  const schema = join(home, "schema.json");
  writeFileSync(schema, JSON.stringify({ type: "object", properties: { n: { enum: [1, 2] } }, required: ["n"] }));
  const args = ["generate", "--model", MODEL, "--prompt", "x", "--schema", schema, "--json", "--max-tokens", "400"];
  const { out, err } = await run(args);
  assert.ok([1, 2].includes(JSON.parse(JSON.parse(out).text).n), err);
});

test("exit codes and messages tell what is wrong", async () => {
  const cases: [string[], number, RegExp][] = [
    [["generate", "--prompt", "x"], 2, /--model/],
    [[...generate, "--temperature", "hot"], 2, /must be a number/],
    [[...generate, "--temperature", "-1"], 2, /temperature is -1/],
    [[...generate, "--quant", "q5"], 2, /f32, q8, q4/],
    [[...generate, "--adapter", "/nowhere"], 3, /\/nowhere\/adapter_config\.json/],
    [[...generate, "--adapter", brokenAdapter()], 3, /adapter_config\.json/],
    [["info", "--model", "/nowhere"], 1, /\/nowhere\/config\.json/],
    [["info", "--model", "vllm+http://127.0.0.1:9"], 4, /127\.0\.0\.1:9/],
    [["nonsense"], 2, /unknown command/],
  ];
  await Promise.all(
    cases.map(async ([args, expected, message]) => {
      const { code, err, out } = await run(args);
      assert.equal(code, expected, `${args.join(" ")}: ${err}`);
      assert.match(err, message);
      assert.equal(out, "");
      assert.doesNotMatch(err, /\n {4}at /, "no stack traces");
    }),
  );
});

test("Ctrl-C ends generation in order, with the text so far and the shell's exit code", async () => {
  const child = start(["generate", "--model", MODEL, "--prompt", "x", "--max-tokens", "2000", "--temperature", "0"]);
  let out = "";
  child.stdout!.setEncoding("utf8").on("data", (text: string) => {
    if (out === "") child.kill("SIGINT");
    out += text;
  });
  const code = await new Promise<number | null>((resolve) => child.on("close", resolve));
  assert.equal(code, 130);
  assert.ok(out.endsWith("\n") && out.length > 1);
});

test("a reader that stops reading ends the command quietly", async () => {
  const child = start([...generate, "--temperature", "0"]);
  child.stdout!.destroy();
  const err = child.stderr!.setEncoding("utf8").toArray();
  const code = await new Promise<number | null>((resolve) => child.on("close", resolve));
  assert.equal(code, 0);
  assert.doesNotMatch((await err).join(""), /EPIPE/);
});
