/**
 * `npm run train:bundled [-- --threads 2] [--seed 1]`
 *
 * Makes everything in operator/bundled from nothing: tokenizer, base model, sample DataNets, adapters, and the manifest
 * that says what came out. A killed run goes on where it was; what stands complete is not made again.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, cpus } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { hashModel } from "../../operator/engine/runtime/compiled-model.ts";
import { readManifest } from "../../operator/training/manifest.ts";
import { BASE_STEPS, trainBaseModel, writeBaseModel } from "./base-model.ts";
import { adapterFolder, BUNDLE, BUNDLE_MANIFEST, BUNDLED_MODEL, skillNetFolder, WORK } from "./bundle-paths.ts";
import { evaluateBundle } from "./evaluate.ts";
import { writeKnowledgeNets } from "./knowledge-nets.ts";
import { writeSkillNet } from "./skill-nets.ts";
import { SKILLS } from "./skills.ts";
import { makeVocabulary } from "./vocabulary.ts";

const { values } = parseArgs({
  options: {
    threads: { type: "string", default: String(availableParallelism()) },
    seed: { type: "string", default: "1" },
  },
});
const threads = Number(values.threads);
const seed = Number(values.seed);
const started = performance.now();
const elapsed = (): string => `${Math.round((performance.now() - started) / 1000)} s`;
mkdirSync(WORK, { recursive: true });

const vocabulary = makeVocabulary(seed);
console.log(`Tokenizer with ${vocabulary.size} tokens (${elapsed()})`);
const baseSeconds = await makeBase();
const hash = hashModel(BUNDLED_MODEL);
writeKnowledgeNets(join(BUNDLE, "datanets"), seed);
let adapterSeconds = 0;
for (const skill of SKILLS) {
  writeSkillNet(skillNetFolder(skill.name), skill, seed);
  adapterSeconds += makeAdapter(skill.name);
}
const figures = await evaluateBundle({ questions: 400, threads, seed: 2 });
const manifest = {
  about:
    "A small language model that answers from the documents it is given, with adapters that are skills. Made by `npm run train:bundled` from generated text; an embedded default, not a general model.",
  licence: "CC0-1.0",
  seed,
  baseModel: { folder: "model", hash, steps: BASE_STEPS },
  adapters: SKILLS.map(({ name, title }) => ({
    name,
    title,
    folder: `adapters/${name}`,
    dataNet: `datanets/skill-${name}`,
    hash: readManifest(join(adapterFolder(name), "lineage.json")).adapterHash,
  })),
  training: { threads, processor: cpus()[0]?.model ?? "unknown", baseSeconds, adapterSeconds },
  figures,
};
writeFileSync(BUNDLE_MANIFEST, `${JSON.stringify(manifest, null, 2)}\n`);
console.log(`${JSON.stringify(figures, null, 2)}\nDone in ${elapsed()}`);

/** @returns seconds of training, those before a restart included. */
async function makeBase(): Promise<number> {
  const checkpoint = join(WORK, `base-${seed}.safetensors`);
  const controller = new AbortController();
  process.once("SIGINT", () => controller.abort());
  const spentFile = join(WORK, `base-${seed}.seconds`);
  let loss = 0;
  let seconds = existsSync(checkpoint) && existsSync(spentFile) ? Number(readFileSync(spentFile, "utf8")) : 0;
  const weights = await trainBaseModel({
    vocabulary,
    seed,
    threads,
    checkpoint,
    signal: controller.signal,
    onStep: (report) => {
      loss += report.loss / 50;
      seconds += report.seconds;
      if (report.step % 50 !== 0) return;
      writeFileSync(spentFile, String(seconds));
      console.log(`${report.lesson} ${report.step}/${BASE_STEPS} loss ${loss.toFixed(3)} (${elapsed()})`);
      loss = 0;
    },
    onCheck: (step, accuracy) => console.log(`step ${step}: ${(100 * accuracy).toFixed(1)} % of fresh facts exact`),
  });
  if (weights === undefined) {
    console.log("Stopped; the same command goes on from here.");
    process.exit(130);
  }
  writeBaseModel(BUNDLED_MODEL, vocabulary, weights);
  return Math.round(seconds);
}

/** Trains one adapter with the command that anyone would use. @returns seconds. */
function makeAdapter(skill: string): number {
  const output = adapterFolder(skill);
  const lineage = join(output, "lineage.json");
  if (existsSync(lineage) && readManifest(lineage).baseModel.hash === hash) return 0;
  rmSync(lineage, { force: true });
  const begin = performance.now();
  console.log(`\nAdapter ${skill}`);
  const settings = ["--epochs", "8", "--learning-rate", "0.003", "--evaluation", "0.05", "--sketch", "0"];
  const places = ["--model", BUNDLED_MODEL, "--data", skillNetFolder(skill), "--out", output];
  const launcher = fileURLToPath(new URL("../../operator/cli/openledger.js", import.meta.url));
  const { status } = spawnSync(
    process.execPath,
    [launcher, "train", ...places, ...settings, "--seed", String(seed), "--threads", String(threads)],
    { stdio: "inherit" },
  );
  if (status !== 0) throw new Error(`Training the adapter ${skill} ended with ${status}.`);
  return Math.round((performance.now() - begin) / 1000);
}
