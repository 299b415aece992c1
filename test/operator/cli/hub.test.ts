import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, beforeEach, describe, it } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { BUNDLED_MODEL } from "../../../operator/engine/bundled-model.ts";
import { ScriptedHub } from "../hub/scripted-hub.ts";

const LAUNCHER = fileURLToPath(new URL("../../../operator/cli/openledger.js", import.meta.url));
const ADAPTER = join(dirname(BUNDLED_MODEL), "adapters", "loud");
/** Prints every package that is loaded into a process, on file descriptor 3. */
const WATCH_LOADING = `data:text/javascript,${encodeURIComponent(`
  import { registerHooks } from "node:module";
  import { writeSync } from "node:fs";
  registerHooks({ load: (url, context, next) => {
    if (url.includes("node_modules/")) writeSync(3, url + "\\n");
    return next(url, context);
  } });
`)}`;

describe("on the command line, a hub's name", () => {
  const root = mkdtempSync(join(tmpdir(), "openledger-hub-cli-"));
  let hub: ScriptedHub;
  let cache: string;
  before(async () => {
    hub = await ScriptedHub.start();
  });
  after(async () => {
    await hub.close();
    rmSync(root, { recursive: true });
  });
  beforeEach(() => {
    hub.spoil = {};
    hub.seen.length = 0;
    hub.add("tiny/model", BUNDLED_MODEL);
    hub.add("tiny/loud", ADAPTER);
    cache = mkdtempSync(join(root, "cache-"));
  });

  const start = (args: readonly string[], env: NodeJS.ProcessEnv = {}): ChildProcess => {
    const { HF_TOKEN, HF_HUB_OFFLINE, ...rest } = process.env;
    return spawn(process.execPath, [LAUNCHER, ...args], {
      env: { ...rest, HOME: root, XDG_CACHE_HOME: cache, HF_ENDPOINT: hub.url, ...env },
      stdio: ["ignore", "pipe", "pipe", "pipe"],
    });
  };
  const ended = async (child: ChildProcess): Promise<{ code: number; out: string; err: string; loaded: string }> => {
    const texts = child.stdio.slice(1).map((stream) => (stream as NodeJS.ReadableStream).setEncoding("utf8"));
    const [out, err, loaded] = texts.map(async (stream) => {
      let text = "";
      for await (const piece of stream) text += piece;
      return text;
    });
    const code = await new Promise<number>((resolve) => child.on("close", resolve));
    return { code, out: await out, err: await err, loaded: await loaded };
  };
  /** Waits for something that a command brings about while it runs. */
  const until = async (holds: () => boolean, child: ChildProcess): Promise<void> => {
    for (; !holds(); await pause(5)) assert.equal(child.exitCode, null, "the command ended before that");
  };
  const run = (args: readonly string[], env?: NodeJS.ProcessEnv) => ended(start(args, env));
  const weights = () => hub.downloads().filter((name) => name.startsWith("model.safetensors"));

  const asked = ["--prompt", "What can you do?", "--chat", "--temperature", "0", "--max-tokens", "8", "--threads", "1"];
  const generate = (model: string, ...more: string[]) => ["engine", "generate", "--model", model, ...asked, ...more];

  it("answers as the folder does, with an adapter by its name, and later without the hub", async () => {
    const words = async (args: string[], env?: NodeJS.ProcessEnv) => {
      const { code, out, err } = await run([...args, "--json"], env);
      assert.equal(code, 0, err);
      const { tokenIds, logprobs, adapters } = JSON.parse(out);
      return { tokenIds, logprobs, adapters };
    };
    const expected = await words(generate(BUNDLED_MODEL, "--adapter", `${ADAPTER}=0.5`));
    const named = generate("tiny/model", "--adapter", "tiny/loud=0.5");
    assert.deepEqual(await words(named), expected);
    hub.seen.length = 0;
    assert.deepEqual(await words(named, { HF_HUB_OFFLINE: "1" }), expected);
    assert.deepEqual(hub.seen, []);
    const info = await run(["engine", "info", "--model", "tiny/model", "--json"]);
    const folder = await run(["engine", "info", "--model", BUNDLED_MODEL, "--json"]);
    assert.equal(JSON.parse(info.out).modelHash, JSON.parse(folder.out).modelHash);
    assert.equal(JSON.parse(info.out).model, "model");
  });

  it("is trained on to the same bytes, lineage included", async () => {
    const net = join(root, "net");
    mkdirSync(join(net, "ada"), { recursive: true });
    const line = (i: number) => `${JSON.stringify({ prompt: `ask ${i}`, completion: "yes yes" })}\n`;
    writeFileSync(join(net, "ada", "pairs.jsonl"), Array.from({ length: 8 }, (_, i) => line(i)).join(""));
    const options = ["--data", net, "--epochs", "1", "--rank", "2", "--batch", "4", "--sketch", "0", "--threads", "1"];
    const outs = [BUNDLED_MODEL, "tiny/model"].map((model, i) => ({ model, out: join(root, `adapter-${i}`) }));
    for (const { model, out } of outs) {
      const { code, err } = await run(["train", "--model", model, "--out", out, ...options]);
      assert.equal(code, 0, err);
    }
    for (const name of ["adapter_model.safetensors", "adapter_config.json", "lineage.json"]) {
      const [folder, named] = outs.map(({ out }) => readFileSync(join(out, name)));
      assert.ok(folder.equals(named), name);
    }
  });

  it("killed in the middle leaves nothing that looks complete, and the same command goes on from there", async () => {
    hub.spoil = { slow: 50 };
    const child = start(generate("tiny/model"));
    const part = () => {
      const names = readdirSync(cache, { recursive: true }).map(String);
      const name = names.find((path) => path.endsWith("model.safetensors.part"));
      return { names, bytes: name === undefined ? 0 : statSync(join(cache, name)).size };
    };
    await until(() => part().bytes >= 1_000_000, child);
    child.kill("SIGKILL");
    await new Promise((resolve) => child.on("close", resolve));
    const { names, bytes } = part();
    assert.ok(!names.some((path) => path.endsWith("model.safetensors")));
    assert.ok(!names.some((path) => /model-[0-9a-f]{40}$/.test(path)), "the commit's folder comes last");
    hub.spoil = {};
    hub.seen.length = 0;
    const { code, err } = await run(generate("tiny/model"));
    assert.equal(code, 0, err);
    assert.deepEqual(weights(), [`model.safetensors bytes=${bytes}-`]);
    assert.deepEqual(
      part().names.filter((path) => /part/.test(path)),
      [],
    );
  });

  it("wanted by two commands at once is fetched by one, and by the other where that one is killed", async () => {
    // Two minutes, were it not killed.
    hub.spoil = { slow: 1_000 };
    const first = start(generate("tiny/model"));
    await until(() => weights().length > 0, first);
    const second = start(generate("tiny/model"));
    let said = "";
    second.stderr!.on("data", (piece) => {
      said += piece;
    });
    await until(() => said.includes("Another process fetches tiny/model"), second);
    assert.equal(weights().length, 1);
    hub.spoil = {};
    first.kill("SIGKILL");
    const { code } = await ended(second);
    assert.equal(code, 0, said);
    assert.match(weights()[1], /^model\.safetensors bytes=[1-9]\d*-$/);
  });

  it("costs a folder nothing: what speaks to the hub is loaded when it is needed", async () => {
    const info = ["engine", "info", "--model"];
    const env = { NODE_OPTIONS: `--import=${WATCH_LOADING}` };
    const { loaded, code, err } = await run([...info, "tiny/model"], env);
    assert.equal(code, 0, err);
    assert.match(loaded, /node_modules\/@huggingface\/hub\//);
    const commit = hub.repositories.get("tiny/model")!.commit;
    for (const model of [BUNDLED_MODEL, `tiny/model@${commit}`]) {
      const { loaded, code, err } = await run([...info, model], env);
      assert.equal(code, 0, err);
      assert.match(loaded, /node_modules\/@huggingface\/tokenizers\//);
      assert.doesNotMatch(loaded, /@huggingface\/hub/, model);
    }
  });

  it("that leads nowhere ends with a code and a sentence", async () => {
    const away = { HF_ENDPOINT: "http://127.0.0.1:9" };
    const cases: [string[], NodeJS.ProcessEnv, number, RegExp][] = [
      [generate("tiny/modle"), {}, 2, /^openledger: There is no folder tiny\/modle here, and no tiny\/modle at http/],
      [
        generate("tiny/model"),
        away,
        4,
        /cannot be reached .*A folder needs no network; .*bundled\/model has the model/,
      ],
      [generate("tiny/model"), { HF_HUB_OFFLINE: "1" }, 4, /was never fetched, and HF_HUB_OFFLINE is set/],
      [generate("tiny/model", "--adapter", "tiny/model"), {}, 1, /is no adapter but a model/],
      [generate("./tiny/model"), {}, 1, /tiny\/model\/config\.json/],
      [
        [
          "register",
          "adapter",
          "tiny/lout",
          "--name",
          "x",
          "--base-model",
          `0x${"0".repeat(64)}`,
          "--licence",
          "MIT",
          "--rpc",
          "http://127.0.0.1:9",
        ],
        {},
        2,
        /no folder tiny\/lout here/,
      ],
    ];
    for (const [args, env, code, message] of cases) {
      const result = await run(args, env);
      assert.equal(result.code, code, `${args.join(" ")}: ${result.err}`);
      assert.match(result.err, message);
      assert.equal(result.out, "");
    }
  });
});
