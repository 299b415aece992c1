import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { fileURLToPath } from "node:url";
import type { Engine, GenerateRequest } from "../../../operator/engine/engine.ts";
import { hashModel } from "../../../operator/engine/runtime/compiled-model.ts";
import { startEmbeddedEngine } from "../../../operator/engine/worker/embedded-engine.ts";
import { readDataNetFolder } from "../../../operator/training/data/data-net-folder.ts";
import { readDocuments } from "../../../operator/training/data/documents.ts";
import { readManifest } from "../../../operator/training/manifest.ts";
import { seeded } from "../../../operator/training/random.ts";
import { drawQuestion } from "../../../scripts/train/corpus.ts";
import { drawSkillExample } from "../../../scripts/train/skill-nets.ts";
import { SKILLS } from "../../../scripts/train/skills.ts";

const BUNDLE = fileURLToPath(new URL("../../../operator/bundled", import.meta.url));
const MODEL = join(BUNDLE, "model");
const adapterOf = (skill: string): string => join(BUNDLE, "adapters", skill);

describe("the bundled model", () => {
  let engine: Engine;
  before(async () => {
    const settings = { model: MODEL, exact: true, slots: SKILLS.length, maxRank: 8, memoryBytes: 512 << 20 };
    engine = await startEmbeddedEngine(settings);
    for (const { name } of SKILLS) await engine.loadAdapter({ id: name, path: adapterOf(name) });
  });
  after(() => engine.close());

  async function answer(messages: GenerateRequest["prompt"], adapter?: string): Promise<string> {
    const adapters = adapter === undefined ? [] : [{ id: adapter }];
    let text = "";
    const sampling = { temperature: 0 };
    for await (const event of engine.generate({ prompt: messages, adapters, sampling, maxTokens: 48 })) {
      if (event.type === "token" || event.type === "finish") text += event.text;
    }
    return text;
  }
  const share = (values: readonly boolean[]): number => values.filter(Boolean).length / values.length;

  it("answers from the documents it is given, about names it never saw", async () => {
    const drawn = Array.from({ length: 60 }, (_, i) => drawQuestion(seeded(31, i)));
    const given = await Promise.all(drawn.map(({ messages }) => answer({ messages })));
    assert.ok(share(given.map((text, i) => text === drawn[i].answer)) >= 0.85, given.slice(0, 5).join("\n"));
    const bare = await Promise.all(drawn.map(({ messages }) => answer({ messages: messages.slice(1) })));
    assert.ok(share(bare.map((text, i) => text === drawn[i].answer)) <= 0.1);
  });

  it("has adapters that are skills, in one batch with each other", async () => {
    const asked = SKILLS.flatMap((skill) =>
      Array.from({ length: 16 }, (_, i) => ({ skill, ...drawSkillExample(seeded(32, skill.name, i), skill, "fresh") })),
    );
    const given = await Promise.all(asked.map(({ skill, messages }) => answer({ messages }, skill.name)));
    const bare = await Promise.all(asked.map(({ messages }) => answer({ messages })));
    for (const { name } of SKILLS) {
      const rightWith = (answers: readonly string[]): number =>
        share(asked.flatMap(({ skill, answer: wanted }, i) => (skill.name === name ? [answers[i] === wanted] : [])));
      assert.ok(rightWith(given) >= 0.8, `${name}: ${rightWith(given)}`);
      assert.ok(rightWith(bare) <= 0.2, `${name} without the adapter: ${rightWith(bare)}`);
    }
  });
});

describe("the bundle", () => {
  const manifest = JSON.parse(readFileSync(join(BUNDLE, "bundled.json"), "utf8"));

  it("was as good as its page says when it was made", () => {
    const { contextAccuracy, noContextAccuracy, adapters } = manifest.figures;
    assert.ok(contextAccuracy >= 0.9 && noContextAccuracy <= 0.1);
    assert.deepEqual(Object.keys(adapters).sort(), SKILLS.map(({ name }) => name).sort());
    for (const { with: own, without, wrong } of Object.values<Record<string, number>>(adapters)) {
      assert.ok(own >= 0.9 && without <= 0.2 && wrong <= 0.2);
    }
  });

  it("is small enough to be carried", () => {
    const weights = readdirSync(BUNDLE, { recursive: true, encoding: "utf8" }).filter((path) =>
      path.endsWith(".safetensors"),
    );
    const bytes = weights.reduce((total, path) => total + statSync(join(BUNDLE, path)).size, 0);
    assert.ok(bytes <= 20e6, `${bytes} bytes`);
  });

  it("holds the model that the adapters were trained on, and the documents that their lineages name", async () => {
    assert.equal(hashModel(MODEL), manifest.baseModel.hash);
    for (const { name } of SKILLS) {
      const lineage = readManifest(join(adapterOf(name), "lineage.json"));
      assert.equal(lineage.baseModel.hash, manifest.baseModel.hash);
      const net = readDataNetFolder(join(BUNDLE, "datanets", `skill-${name}`));
      assert.ok(net.contributions.length >= 3);
      assert.deepEqual(
        lineage.dataNets[0].contributions.map(({ contentRoot }) => contentRoot),
        net.contributions.map(({ contentRoot }) => contentRoot),
      );
    }
  });

  it("has sample DataNets to ask about, each by several contributors", () => {
    const nets = readdirSync(join(BUNDLE, "datanets")).filter((name) => !name.startsWith("skill-"));
    assert.ok(nets.length >= 8);
    for (const name of nets) {
      const net = readDataNetFolder(join(BUNDLE, "datanets", name));
      assert.ok(net.contributions.length >= 3 && readDocuments(net).length >= 12, name);
      assert.ok(existsSync(join(BUNDLE, "datanets", name, "datanet.json")));
    }
  });
});
