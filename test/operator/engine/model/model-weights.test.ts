import assert from "node:assert/strict";
import { copyFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { readModelConfig } from "../../../../operator/engine/model/config.ts";
import { ModelWeights } from "../../../../operator/engine/model/model-weights.ts";
import { writeSafetensors } from "../../../../operator/engine/model/safetensors-writer.ts";
import { compileModel, hashModel } from "../../../../operator/engine/runtime/compiled-model.ts";
import { type RandomModel, randomModel, temporaryFolder } from "../reference/random-model.ts";

function copyWith(
  model: RandomModel,
  edit: (tensors: Map<string, { name: string; shape: number[]; data: Float32Array }>) => void,
) {
  const folder = temporaryFolder();
  copyFileSync(join(model.folder, "config.json"), join(folder, "config.json"));
  const tensors = new Map(
    [...model.tensors].map(([name, { shape, data }]) => [name, { name, shape: [...shape], data }]),
  );
  edit(tensors);
  writeSafetensors(join(folder, "model.safetensors"), [...tensors.values()]);
  return folder;
}

const open = (folder: string) => {
  const weights = new ModelWeights(folder, readModelConfig(folder));
  weights.close();
};

test("a folder whose tensors are missing, unknown, misshapen or not finite is refused", async () => {
  const model = randomModel();
  const name = "model.layers.1.mlp.up_proj.weight";
  open(copyWith(model, () => {}));
  assert.throws(() => open(copyWith(model, (t) => t.delete(name))), /no file holds tensor model.layers.1.mlp.up_proj/);
  const misshapen = copyWith(model, (t) => t.get(name)!.shape.reverse());
  assert.throws(() => open(misshapen), /is \[64,96\], config.json asks for \[96,64\]/);
  const unknown = copyWith(model, (t) => t.set("x", { name: "x", shape: [1], data: Float32Array.of(1) }));
  assert.throws(() => open(unknown), /tensor x does not belong to a llama model/);
  const layer = "model.layers.2.mlp.up_proj.weight";
  const deeper = copyWith(model, (t) => t.set(layer, { ...t.get(name)!, name: layer }));
  assert.throws(() => open(deeper), /does not belong/);
  const poisoned = copyWith(model, (t) => {
    const tensor = t.get(name)!;
    tensor.data = tensor.data.slice();
    tensor.data[77] = Number.POSITIVE_INFINITY;
  });
  const options = { quantisation: "q4", exact: false } as const;
  const compiling = compileModel(poisoned, readModelConfig(poisoned), options, temporaryFolder());
  await assert.rejects(compiling, /up_proj.weight holds Infinity at element 77/);
  assert.throws(() => open(temporaryFolder()), /config.json: cannot be read/);
});

test("shards that an index names are read as one model, and only from their own folder", () => {
  const model = randomModel();
  const folder = temporaryFolder();
  copyFileSync(join(model.folder, "config.json"), join(folder, "config.json"));
  assert.throws(() => open(folder), /no model.safetensors and no index/);
  const tensors = [...model.tensors.values()];
  writeSafetensors(join(folder, "one.safetensors"), tensors.slice(0, 9));
  writeSafetensors(join(folder, "two.safetensors"), tensors.slice(9));
  const index = (map: unknown) =>
    writeFileSync(join(folder, "model.safetensors.index.json"), JSON.stringify({ weight_map: map }));
  index({ a: "one.safetensors", b: "two.safetensors" });
  const weights = new ModelWeights(folder, readModelConfig(folder));
  assert.deepEqual(weights.read("model.norm.weight"), model.tensors.get("model.norm.weight")!.data);
  weights.close();
  index({ a: "one.safetensors" });
  assert.throws(() => open(folder), /no file holds tensor/);
  for (const name of ["../one.safetensors", "/etc/passwd", "a\\one.safetensors", "one.bin", 5]) {
    index({ a: name });
    assert.throws(() => open(folder), /is not a file of this folder|must be a string/);
  }
  index({});
  assert.throws(() => open(folder), /names 0 files/);
  writeSafetensors(join(folder, "two.safetensors"), tensors);
  index({ a: "one.safetensors", b: "two.safetensors" });
  assert.throws(() => open(folder), /stands in two files/);
});

test("compiled graphs are reused for the same content and made anew when a weight changes", async () => {
  const cache = temporaryFolder();
  const model = randomModel();
  const options = { quantisation: "q8", exact: true } as const;
  const config = readModelConfig(model.folder);
  const first = await compileModel(model.folder, config, options, cache);
  const again = await compileModel(model.folder, config, options, cache);
  assert.equal(again.path("flash", "none"), first.path("flash", "none"));
  const changed = copyWith(model, (tensors) => {
    const tensor = tensors.get("model.norm.weight")!;
    tensor.data = tensor.data.map((value) => value * 1.01);
  });
  assert.notEqual(hashModel(changed), first.modelHash);
  const other = await compileModel(changed, config, options, cache);
  assert.notEqual(other.path("flash", "none"), first.path("flash", "none"));
  const exact = await compileModel(model.folder, config, { ...options, exact: false }, cache);
  assert.notEqual(exact.path("flash", "none"), first.path("flash", "none"));
  rmSync(join(changed, "model.safetensors"));
  await assert.rejects(compileModel(changed, config, options, cache), /no model.safetensors/);
});
