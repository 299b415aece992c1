import assert from "node:assert/strict";
import { appendFileSync, chmodSync, readFileSync, rmSync, truncateSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { ThreadAdapterReader } from "../../../../operator/engine/adapters/adapter-reader.ts";
import { lookAtFolder, readFolder } from "../../../../operator/engine/adapters/folder-state.ts";
import { KnownHashes } from "../../../../operator/engine/adapters/known-hashes.ts";
import { adapterHash } from "../../../../operator/engine/model/adapter-folder.ts";
import { TINY, temporaryFolder, tinyAdapter } from "./tiny-adapter.ts";

const root = temporaryFolder();
after(() => rmSync(root, { recursive: true }));

const FORGED = "f".repeat(64);
const NO_LIMIT = Number.POSITIVE_INFINITY;
/** Longer than files must lie still before their hash is remembered. */
const SETTLING = 3200;

test("the hash of a folder that did not change is taken from memory, and a change makes it useless", async () => {
  const folder = tinyAdapter(join(root, "changing"), 1);
  const hashes = new KnownHashes();
  const { stamp } = await lookAtFolder(folder);
  // A hash that the files cannot have shows where it came from.
  hashes.add(folder, stamp, FORGED);
  assert.equal(readFolder(folder, TINY, NO_LIMIT, hashes).hash, FORGED);
  tinyAdapter(folder, 2);
  assert.equal(readFolder(folder, TINY, NO_LIMIT, hashes).hash, adapterHash(folder));
  assert.equal(hashes.get(join(root, "elsewhere"), stamp), undefined);
});

test("putting a file's old time and size back does not bring its old hash back", async () => {
  const folder = tinyAdapter(join(root, "dated"), 1);
  const weights = join(folder, "adapter_model.safetensors");
  const then = new Date(Date.now() - 60_000);
  utimesSync(weights, then, then);
  const hashes = new KnownHashes();
  hashes.add(folder, (await lookAtFolder(folder)).stamp, FORGED);
  const bytes = readFileSync(weights);
  bytes[bytes.length - 1] ^= 1;
  writeFileSync(weights, bytes);
  utimesSync(weights, then, then);
  assert.equal(readFolder(folder, TINY, NO_LIMIT, hashes).hash, adapterHash(folder));
});

test("files are hashed anew until they have lain still for a while, then once for all starts", async () => {
  const folder = tinyAdapter(join(root, "settling"), 1);
  const file = join(root, "settling-hashes");
  const fresh = new KnownHashes(file);
  const { hash, stamp } = readFolder(folder, TINY, NO_LIMIT, fresh);
  assert.equal(fresh.get(folder, stamp), undefined);
  await pause(SETTLING);
  const reader = new ThreadAdapterReader(TINY, file);
  assert.equal((await reader.read(folder)).hash, hash);
  await reader.close();
  assert.equal(new KnownHashes(file).get(folder, stamp), hash);
});

test("torn and damaged lines are skipped, and lines after them count", () => {
  const file = join(root, "torn");
  const first = new KnownHashes(file);
  first.add("a", "1", "a".repeat(64));
  first.add("b", "1", "b".repeat(64));
  truncateSync(file, readFileSync(file).length - 9);
  new KnownHashes(file).add("c", "1", "c".repeat(64));
  const torn = new KnownHashes(file);
  assert.deepEqual(
    ["a", "b", "c"].map((folder) => torn.get(folder, "1")?.[0]),
    ["a", undefined, "c"],
  );
  writeFileSync(file, readFileSync(file, "utf8").replace("a".repeat(64), "d".repeat(64)));
  appendFileSync(file, `${"1".repeat(64)} nonsense\n`);
  const damaged = new KnownHashes(file);
  assert.deepEqual([damaged.get("a", "1"), damaged.get("c", "1")?.[0]], [undefined, "c"]);
});

test("a file that others may write is neither believed nor touched", { skip: process.platform === "win32" }, () => {
  const file = join(root, "open-to-all");
  new KnownHashes(file).add("a", "1", FORGED);
  chmodSync(file, 0o666);
  const before = readFileSync(file);
  const hashes = new KnownHashes(file);
  assert.equal(hashes.get("a", "1"), undefined);
  hashes.add("b", "1", FORGED);
  assert.equal(hashes.get("b", "1"), FORGED);
  assert.deepEqual(readFileSync(file), before);
});

test("where the file cannot be written, hashes last as long as the process", () => {
  writeFileSync(join(root, "plain"), "");
  const hashes = new KnownHashes(join(root, "plain", "inside"));
  hashes.add("a", "1", FORGED);
  assert.equal(hashes.get("a", "1"), FORGED);
});
