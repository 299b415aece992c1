import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { bundledModel } from "../../../operator/engine/bundled-model.ts";
import { configFields, readConfig, withBundledModel } from "../../../operator/node/config.ts";
import { readRoles } from "../../../operator/node/roles.ts";

describe("a node's settings", () => {
  const folder = mkdtempSync(join(tmpdir(), "openledger-settings-"));
  after(() => rmSync(folder, { recursive: true }));

  const file = join(folder, "openledger.json");
  const read = (config: unknown, overrides = {}) => {
    writeFileSync(file, JSON.stringify(config));
    return readConfig(file, overrides);
  };
  const least = { operator: 7, chain: { rpc: "http://127.0.0.1:8545" } };

  it("are two fields at least; every other has a default", () => {
    const config = read(least);
    assert.equal(config.gateway.port, 8_787);
    assert.equal(config.data, join(folder, "openledger-data"), "paths are taken from the file's folder");
    assert.throws(() => read({}), /openledger\.json: operator: is missing; chain: is missing\./);
  });

  it("are overruled by the command line and the environment", () => {
    const given = { ...least, engine: { model: "here", threads: 2 }, gateway: { port: 1 } };
    const { engine, gateway, redis } = read(given, { model: "/there", port: 2, redis: "redis://other:1" });
    assert.deepEqual(engine, { model: "/there", threads: 2 });
    assert.deepEqual([gateway.port, redis.url], [2, "redis://other:1"]);
    assert.equal(read(given).engine?.model, join(folder, "here"));
    const remote = { ...least, engine: { model: "vllm+http://gpu:8000" } };
    assert.equal(read(remote).engine?.model, "vllm+http://gpu:8000");
  });

  it("name a model by a path, or by a hub's name where no such folder is beside the file", () => {
    const inEngine = (text: string) => read({ ...least, engine: { model: text } }).engine?.model;
    const inWatcher = (text: string) => read({ ...least, watcher: { model: text } }).watcher.model;
    for (const model of [inEngine, inWatcher]) {
      rmSync(join(folder, "org"), { recursive: true, force: true });
      assert.equal(model("org/name@v1"), "org/name@v1");
      assert.equal(model("./org/name"), join(folder, "org", "name"));
      mkdirSync(join(folder, "org", "name"), { recursive: true });
      assert.equal(model("org/name"), join(folder, "org", "name"));
    }
    assert.equal(read(least, { model: "org/other" }).engine?.model, "org/other");
  });

  it("fall back to the model that comes with this program", () => {
    const bundled = bundledModel();
    const withThreads = { ...least, engine: { threads: 2 } };
    if (bundled === undefined) assert.throws(() => read(withThreads), /engine\.model: is missing/);
    else assert.equal(read(withThreads).engine?.model, bundled);
    assert.equal(read(least).engine, undefined, "a gateway needs none");
    assert.equal(withBundledModel(read(least))?.engine?.model, bundled);
    assert.equal(withBundledModel(read({ ...least, engine: { model: "here" } }))?.engine?.model, join(folder, "here"));
  });

  it("are all written down in the page for operators, as they are", () => {
    const page = readFileSync(new URL("../../../docs/operations.md", import.meta.url), "utf8");
    const rows = configFields().map(({ name, description, default: fallback }) => {
      const given = fallback === undefined ? "" : `\`${JSON.stringify(fallback)}\``;
      return `| \`${name}\` | ${given} | ${description} |`;
    });
    const table = page.split("| field | default | what it is |\n|---|---|---|\n")[1].split("\n\n")[0];
    assert.deepEqual(table.split("\n"), rows);
  });

  it("name roles that exist", () => {
    assert.deepEqual([...readRoles("worker, gateway")], ["worker", "gateway"]);
    assert.equal(readRoles("all").size, 4);
    assert.throws(() => readRoles("settler,"), /There is no role without a name/);
  });
});
