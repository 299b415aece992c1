import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { after, before, beforeEach, describe, it } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { BUNDLED_MODEL } from "../../../operator/engine/bundled-model.ts";
import { adapterHash } from "../../../operator/engine/model/adapter-folder.ts";
import { writeSafetensors } from "../../../operator/engine/model/safetensors-writer.ts";
import { hashModel } from "../../../operator/engine/runtime/compiled-model.ts";
import { fetchRepository } from "../../../operator/hub/fetch-repository.ts";
import type { HubError, HubErrorCode } from "../../../operator/hub/hub-error.ts";
import { parseHubName } from "../../../operator/hub/hub-name.ts";
import { type HubSettings, hubSettings } from "../../../operator/hub/hub-settings.ts";
import { modelFolder } from "../../../operator/hub/locate.ts";
import type { Kind } from "../../../operator/hub/needed-files.ts";
import { ScriptedHub } from "./scripted-hub.ts";

const ADAPTER = join(dirname(BUNDLED_MODEL), "adapters", "terse");
const WEIGHTS = "model.safetensors";
const SIZE = statSync(join(BUNDLED_MODEL, WEIGHTS)).size;

describe("a repository fetched by its name", () => {
  const root = mkdtempSync(join(tmpdir(), "openledger-hub-"));
  let hub: ScriptedHub;
  let settings: HubSettings;
  before(async () => {
    hub = await ScriptedHub.start();
  });
  after(async () => {
    await hub.close();
    rmSync(root, { recursive: true });
  });
  beforeEach(() => {
    hub.spoil = {};
    hub.repositories.clear();
    hub.seen.length = 0;
    hub.add("tiny/world", BUNDLED_MODEL);
    settings = { ...hubSettings({ HF_ENDPOINT: hub.url }), cache: mkdtempSync(join(root, "cache-")), pauseMs: 5 };
  });

  const lines: string[] = [];
  const fetched = (text: string, kind: Kind = "model", more: Partial<HubSettings> = {}) => {
    lines.length = 0;
    return fetchRepository(parseHubName(text)!, kind, {
      settings: { ...settings, ...more },
      say: (line, lasting) => lasting && lines.push(line),
    });
  };
  const refused = (code: HubErrorCode, message: RegExp) => (error: HubError) => {
    assert.equal(error.name, "HubError", error.stack);
    assert.deepEqual([error.code, message.test(error.message)], [code, true], error.message);
    return true;
  };
  /** Every file below the cache, without locks. */
  const kept = () =>
    readdirSync(settings.cache, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && !entry.name.includes(".lock"))
      .map((entry) => entry.name)
      .sort();
  const weightRequests = () => hub.downloads().filter((name) => name.startsWith(WEIGHTS));

  it("is the folder's model to the bit, and holds nothing that the engine does not read", async () => {
    const { folder, commit } = await fetched("tiny/world");
    assert.equal(hashModel(folder), hashModel(BUNDLED_MODEL));
    assert.deepEqual(readdirSync(folder).sort(), readdirSync(BUNDLED_MODEL).sort());
    assert.equal(basename(folder), "world", "the engine calls a model by its folder");
    assert.equal(commit, hub.repositories.get("tiny/world")!.commit);
    for (const name of readdirSync(folder)) assert.equal(statSync(join(folder, name)).mode & 0o111, 0, name);
    const pages = hub.seen.filter(({ path }) => path.includes("/tree/"));
    assert.ok(pages.length >= 3, "the list was read to its end");
    assert.match(lines[0], /^Fetching tiny\/world@[0-9a-f]{40} from http.*: 7\.6 MB of 7\.7 MB$/);
  });

  it("is an adapter where one was asked for", async () => {
    hub.add("tiny/terse", ADAPTER);
    const { folder } = await fetched("tiny/terse", "adapter");
    assert.equal(adapterHash(folder), adapterHash(ADAPTER));
    assert.deepEqual(readdirSync(folder).sort(), ["adapter_config.json", "adapter_model.safetensors"]);
    await assert.rejects(
      fetched("tiny/terse"),
      refused("unusable", /is no model but an adapter: give it with --adapter/),
    );
    await assert.rejects(
      fetched("tiny/world", "adapter"),
      refused("unusable", /is no adapter but a model: give it with --model/),
    );
  });

  it("in shards is all that its index names", async () => {
    const { files } = inShards();
    const { folder } = await fetched("tiny/shards");
    assert.deepEqual(
      readdirSync(folder).filter((name) => name.endsWith("safetensors")),
      ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"],
    );
    assert.ok(files.has("model.safetensors.index.json") && hashModel(folder).length === 64);
  });

  /** The bundled model, its weights in two files. */
  function inShards() {
    const repository = hub.add("tiny/shards", BUNDLED_MODEL);
    const { files } = repository;
    files.delete(WEIGHTS);
    const names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    for (const [i, name] of names.entries()) {
      const path = join(root, name);
      writeSafetensors(path, [{ name: `tensor${i}`, shape: [30_000], data: new Float32Array(30_000).fill(i) }]);
      files.set(name, { bytes: readFileSync(path) });
    }
    const index = { weight_map: { a: names[0], b: names[1], c: names[0] } };
    files.set("model.safetensors.index.json", { bytes: Buffer.from(JSON.stringify(index)) });
    return repository;
  }

  it("puts nothing where a hostile name leads", async () => {
    for (const name of [
      "../x.safetensors",
      "/tmp/x.safetensors",
      "a/b.safetensors",
      "..\\x.safetensors",
      "x.py",
      ".x.safetensors",
    ]) {
      const { files } = inShards();
      files.set(name, { bytes: Buffer.alloc(200_000) });
      const index = { weight_map: { a: "model-00001-of-00002.safetensors", b: name } };
      files.set("model.safetensors.index.json", { bytes: Buffer.from(JSON.stringify(index)) });
      await assert.rejects(fetched("tiny/shards"), refused("unusable", /index.*names/), name);
      assert.deepEqual(kept(), [], name);
    }
    const { files } = inShards();
    files.delete("model-00002-of-00002.safetensors");
    await assert.rejects(fetched("tiny/shards"), refused("unusable", /index names.*00002.*which it does not have/));
    for (const name of ["../../evil.json", "/etc/evil", "a\0b"]) files.set(name, { bytes: Buffer.from("{}") });
    hub.add("tiny/world", BUNDLED_MODEL).files.set("../config.json", { bytes: Buffer.from("evil") });
    await fetched("tiny/world");
    assert.ok(!hub.downloads().some((name) => name.includes("evil")));
  });

  it("is refused where a byte is another, and nothing of it is kept", async () => {
    hub.spoil = { flip: 1_000_000 };
    await assert.rejects(fetched("tiny/world"), refused("damaged", /is not what the hub's list says \(SHA-256/));
    assert.ok(!kept().includes(WEIGHTS));
    assert.equal(statSync(join(partial(), `${WEIGHTS}.part`)).size, 0);
    hub.spoil = {};
    assert.equal(hashModel((await fetched("tiny/world")).folder), hashModel(BUNDLED_MODEL));
  });

  it("is refused where a small file is another than its git hash says", async () => {
    const oid = createHash("sha1").update("another").digest("hex");
    hub.repositories.get("tiny/world")!.files.get("config.json")!.listed = { oid };
    await assert.rejects(fetched("tiny/world"), refused("damaged", /config\.json is not what.*git hash/));
    assert.deepEqual(weightRequests(), []);
  });

  const partial = () => {
    const repository = join(settings.cache, new URL(hub.url).host.replace(":", "_"), "tiny--world");
    const [name] = readdirSync(repository).filter((entry) => entry.endsWith(".partial"));
    return join(repository, name, "world");
  };

  it("goes on where a connection broke, byte for byte", async () => {
    hub.spoil = { cut: { after: 3_000_000, times: 2 } };
    const { folder } = await fetched("tiny/world");
    assert.equal(hashModel(folder), hashModel(BUNDLED_MODEL));
    const [first, ...rest] = weightRequests();
    assert.equal(first, WEIGHTS);
    assert.equal(rest.length, 2);
    // What was on its way when the connection broke may not have arrived.
    const starts = rest.map((request) => Number(/bytes=(\d+)-/.exec(request)![1]));
    assert.ok(starts[0] > 0 && starts[0] <= 3_000_000 && starts[1] > starts[0] && starts[1] <= 6_000_000, `${starts}`);
  });

  it("begins again where the server gives no ranges, and believes no range that it did not ask for", async () => {
    hub.spoil = { cut: { after: 3_000_000, times: 1 }, ranges: "none" };
    assert.equal(hashModel((await fetched("tiny/world")).folder), hashModel(BUNDLED_MODEL));
    rmSync(settings.cache, { recursive: true });
    hub.spoil = { cut: { after: 3_000_000, times: 1 }, ranges: "wrong" };
    await assert.rejects(fetched("tiny/world"), refused("damaged", /was asked from byte \d+ on and gives bytes/));
  });

  /** Stops a download when some of the weights are here. @returns The file that holds them. */
  async function stopInTheMiddle(): Promise<string> {
    hub.spoil = { cut: { after: 2_000_000, times: 1 } };
    const stopped = new AbortController();
    const asked = fetchRepository(parseHubName("tiny/world")!, "model", {
      settings: { ...settings, pauseMs: 60_000 },
      signal: stopped.signal,
    });
    const isStopped = assert.rejects(asked, refused("cancelled", /The same command goes on where it was/));
    const part = () => join(partial(), `${WEIGHTS}.part`);
    while (!kept().includes(`${WEIGHTS}.part`) || statSync(part()).size === 0) await pause(10);
    stopped.abort();
    await isStopped;
    hub.seen.length = 0;
    hub.spoil = {};
    return part();
  }

  it("that was stopped goes on with the next call", async () => {
    const here = statSync(await stopInTheMiddle()).size;
    assert.ok(here <= 2_000_000);
    assert.equal(hashModel((await fetched("tiny/world")).folder), hashModel(BUNDLED_MODEL));
    assert.deepEqual(weightRequests(), [`${WEIGHTS} bytes=${here}-`]);
  });

  it("is fetched anew where what an earlier call left was damaged since", async () => {
    const part = await stopInTheMiddle();
    const bytes = readFileSync(part);
    bytes[7] ^= 1;
    writeFileSync(part, bytes);
    assert.equal(hashModel((await fetched("tiny/world")).folder), hashModel(BUNDLED_MODEL));
    assert.deepEqual(weightRequests(), [`${WEIGHTS} bytes=${bytes.length}-`, WEIGHTS]);
  });

  it("once it is pinned, is never asked for again", async () => {
    const { commit, folder } = await fetched("tiny/world");
    hub.seen.length = 0;
    assert.deepEqual(await fetched(`tiny/world@${commit}`), { commit, folder });
    assert.deepEqual(hub.seen, []);
    assert.equal((await fetched("tiny/world@refs/pr/1")).folder, folder);
    assert.deepEqual(hub.downloads(), [], "the same commit under another name is here");
  });

  it("without a network is what it was the last time, and says so", async () => {
    const { folder } = await fetched("tiny/world");
    const away = await ScriptedHub.start();
    const endpoint = away.url;
    away.add("tiny/world", BUNDLED_MODEL);
    assert.notEqual(
      (await fetched("tiny/world", "model", { endpoint })).folder,
      folder,
      "a mirror has a place of its own",
    );
    await away.close();
    const again = await fetched("tiny/world", "model", { endpoint });
    assert.equal(hashModel(again.folder), hashModel(BUNDLED_MODEL));
    assert.match(
      lines[0],
      /cannot be reached \(ECONNREFUSED\)\. Taking tiny\/world as it was the last time: [0-9a-f]{40}/,
    );
    hub.seen.length = 0;
    assert.equal((await fetched("tiny/world", "model", { offline: true })).folder, folder);
    assert.deepEqual(hub.seen, []);
    await assert.rejects(
      fetched("tiny/other", "model", { offline: true }),
      refused("offline", /tiny\/other was never fetched, and HF_HUB_OFFLINE is set/),
    );
    await assert.rejects(
      modelFolder("tiny/other", { settings: { ...settings, endpoint } }),
      refused("unavailable", /A folder needs no network; operator\/bundled\/model has the model/),
    );
  });

  it("is one download for all that want it at once", async () => {
    hub.spoil = { slow: 1 };
    const all = await Promise.all(Array.from({ length: 4 }, () => fetched("tiny/world")));
    assert.equal(new Set(all.map(({ folder }) => folder)).size, 1);
    assert.deepEqual(weightRequests(), [WEIGHTS]);
    assert.ok(lines.some((line) => line === "Another process fetches tiny/world: waiting for it."));
  });

  it("takes over from an earlier commit what is the same", async () => {
    const { folder } = await fetched("tiny/world");
    const repository = hub.repositories.get("tiny/world")!;
    repository.commit = "a".repeat(40);
    repository.files.set("generation_config.json", { bytes: Buffer.from('{"eos_token_id": 1}') });
    hub.seen.length = 0;
    const newer = await fetched("tiny/world");
    assert.deepEqual(weightRequests(), []);
    assert.notEqual(newer.folder, folder);
    assert.notEqual(hashModel(newer.folder), hashModel(folder));
    assert.equal(statSync(join(newer.folder, WEIGHTS)).ino, statSync(join(folder, WEIGHTS)).ino);
  });

  it("goes no further than its size: neither announced, nor endless, nor more than the limit or the disk takes", async () => {
    hub.spoil = { length: 2 ** 50 };
    await assert.rejects(
      fetched("tiny/world"),
      refused("damaged", /announces 1125899906842624 bytes; the hub's list says/),
    );
    hub.spoil = { endless: true };
    await assert.rejects(fetched("tiny/world"), refused("damaged", /goes on after the \d+ bytes/));
    assert.ok(statSync(join(partial(), `${WEIGHTS}.part`)).size <= SIZE);
    await assert.rejects(
      fetched("tiny/world", "model", { maxBytes: 5e6 }),
      refused("too_large", /has 7\.7 MB, more than the 5\.0 MB that may be fetched: raise OPENLEDGER_HUB_MAX_GB/),
    );
    const { files } = hub.repositories.get("tiny/world")!;
    files.get(WEIGHTS)!.listed = { size: 2 ** 50 };
    await assert.rejects(
      fetched("tiny/world", "model", { maxBytes: 2 ** 51 }),
      refused("too_large", /needs 1,125,900,\d+ MB on the disk of .* which has [\d,]+ MB free: make room/),
    );
    files.get("tokenizer.json")!.listed = { size: 2 ** 40 };
    await assert.rejects(
      fetched("tiny/world"),
      refused("too_large", /tokenizer\.json has 1099511627776 bytes; the engine/),
    );
  });

  it("is refused before its weights come where the engine could not serve it", async () => {
    const { files } = hub.repositories.get("tiny/world")!;
    const config = { ...JSON.parse(files.get("config.json")!.bytes.toString()), model_type: "gemma3" };
    files.set("config.json", { bytes: Buffer.from(JSON.stringify(config)) });
    await assert.rejects(
      fetched("tiny/world"),
      refused("unusable", /^tiny\/world: config\.json: model_type "gemma3" is not/),
    );
    assert.deepEqual([weightRequests(), kept()], [[], []]);
    files.delete("tokenizer.json");
    await assert.rejects(fetched("tiny/world"), refused("unusable", /has no tokenizer\.json/));
    files.delete(WEIGHTS);
    await assert.rejects(
      fetched("tiny/world"),
      refused("unusable", /has no model\.safetensors and no model\.saf.*index/),
    );
    files.set("model-q4.gguf", { bytes: Buffer.from("GGUF") });
    await assert.rejects(fetched("tiny/world"), refused("unusable", /has GGUF files only: a llama\.cpp server/));
    files.set("pytorch_model.bin", { bytes: Buffer.from("pickle") });
    const run = /has its weights as pytorch_model\.bin only\. Such files can run code/;
    await assert.rejects(fetched("tiny/world"), refused("unusable", run));
    assert.deepEqual(kept(), []);
  });

  it("that is private or gated comes with a token, which nobody but the hub sees", async () => {
    const token = ScriptedHub.TOKEN;
    hub.add("tiny/secret", BUNDLED_MODEL, { private: true });
    hub.add("tiny/gated", BUNDLED_MODEL, { gated: true });
    await assert.rejects(fetched("tiny/secret"), refused("not_found", /or it is private and HF_TOKEN is not set/));
    await assert.rejects(
      fetched("tiny/gated"),
      refused("denied", /is gated: accept its terms at .*, then set HF_TOKEN/),
    );
    await assert.rejects(
      fetched("tiny/world", "model", { token: "hf_old" }),
      refused("denied", /does not accept HF_TOKEN/),
    );
    hub.seen.length = 0;
    for (const name of ["tiny/secret", "tiny/gated"]) await fetched(name, "model", { token });
    assert.ok(
      hub.seen.every(({ host, authorization }) => authorization === (host === "hub" ? `Bearer ${token}` : undefined)),
    );
    assert.ok(hub.seen.some(({ host }) => host === "cdn"));
    hub.seen.length = 0;
    hub.spoil = { listElsewhere: true };
    hub.repositories.get("tiny/secret")!.commit = "b".repeat(40);
    await assert.rejects(
      fetched("tiny/secret", "model", { token }),
      refused("unusable", /leads to http.* for its own answers/),
    );
    assert.ok(hub.seen.every(({ host }) => host === "hub"));
  });

  it("that does not exist is refused in words for whoever mistyped it", async () => {
    await assert.rejects(
      fetched("tiny/wrold"),
      refused("not_found", /no folder tiny\/wrold here, and no tiny\/wrold at http.*Check the spelling/),
    );
    await assert.rejects(fetched("tiny/world@v9"), refused("not_found", /tiny\/world has no revision v9/));
  });

  it("outlasts a hub that is busy for a moment, and says when it is for longer", async () => {
    hub.spoil = { statuses: [503, 429] };
    assert.equal(hashModel((await fetched("tiny/world")).folder), hashModel(BUNDLED_MODEL));
    hub.spoil = { statuses: Array(9).fill(429) };
    await assert.rejects(
      fetched("tiny/world@refs/pr/1"),
      refused("unavailable", /takes no more requests for now: try again later; with HF_TOKEN it takes more/),
    );
    hub.spoil = {};
    const wrong = { endpoint: `${hub.url}/nothing` };
    await assert.rejects(fetched("tiny/world", "model", wrong), refused("unavailable", /answers 404 for tiny\/world/));
  });

  it("is read from a cache that cannot be written", async () => {
    const { folder } = await fetched("tiny/world");
    const repository = dirname(dirname(folder));
    chmodSync(repository, 0o500);
    assert.equal((await fetched("tiny/world")).folder, folder);
    chmodSync(repository, 0o700);
  });

  it("comes from the hub and with the token that the environment names", () => {
    const read = hubSettings({ HF_ENDPOINT: "https://mirror.example/hub/", HF_TOKEN: " hf_x\n", HF_HUB_OFFLINE: "1" });
    assert.deepEqual([read.endpoint, read.token, read.offline], ["https://mirror.example/hub", "hf_x", true]);
    const { endpoint, offline, maxBytes } = hubSettings({});
    assert.deepEqual([endpoint, offline, maxBytes], ["https://huggingface.co", false, 1e11]);
    const wrong: [NodeJS.ProcessEnv, RegExp][] = [
      [{ HF_ENDPOINT: "mirror.example" }, /HF_ENDPOINT is "mirror\.example", not an http/],
      [
        { HF_ENDPOINT: "https://me:secret@mirror.example" },
        /^HF_ENDPOINT must not carry a user or password: use HF_TOKEN\.$/,
      ],
      [{ HF_ENDPOINT: "http://mirror.example", HF_TOKEN: "hf_x" }, /HF_TOKEN is not sent over plain http/],
      [{ HF_TOKEN: "hf x" }, /HF_TOKEN holds characters/],
      [{ OPENLEDGER_HUB_MAX_GB: "all" }, /OPENLEDGER_HUB_MAX_GB is all/],
    ];
    for (const [env, message] of wrong) assert.throws(() => hubSettings(env), refused("settings", message));
  });
});
