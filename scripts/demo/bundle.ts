import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { hashModel } from "../../operator/engine/runtime/compiled-model.ts";
import type { Hex } from "../../operator/protocol/bytes.ts";
import { adapterFolder, BUNDLE, BUNDLED_MODEL, skillNetFolder } from "../train/bundle-paths.ts";
import { SKILLS, type Skill } from "../train/skills.ts";

/** A DataNet on disk. */
export interface NetFolder {
  name: string;
  title: string;
  licence: string;
  /** `datanet.json`. */
  manifest: string;
  contributions: { contributor: string; folder: string }[];
}

/** An adapter on disk, with the skill that it was trained for and the DataNet that it was trained on. */
export interface BundledAdapter {
  skill: Skill;
  folder: string;
  trainedOn: NetFolder;
}

/** What the repository carries to serve with. */
export interface Bundle {
  model: string;
  modelHash: Hex;
  adapters: BundledAdapter[];
}

/** DataNets of facts that the agents answer from. */
export const KNOWLEDGE = ["harbours", "railways", "proposals"] as const;

/** @throws Error that says how to make what is missing. */
export function readBundle(): Bundle {
  if (!existsSync(join(BUNDLED_MODEL, "model.safetensors"))) {
    throw new Error(`There is no model in ${BUNDLED_MODEL}: npm run train:bundled makes it.`);
  }
  const adapters = SKILLS.map((skill) => ({ skill, folder: adapterFolder(skill.name) }))
    .filter(({ folder }) => existsSync(join(folder, "adapter_model.safetensors")))
    .map((adapter) => ({ ...adapter, trainedOn: readNet(skillNetFolder(adapter.skill.name)) }));
  return { model: BUNDLED_MODEL, modelHash: `0x${hashModel(BUNDLED_MODEL)}`, adapters };
}

/** A DataNet of facts by its name. */
export const readKnowledge = (name: string): NetFolder => readNet(join(BUNDLE, "datanets", name));

function readNet(folder: string): NetFolder {
  const manifest = join(folder, "datanet.json");
  const { name, title, licence, contributions } = JSON.parse(readFileSync(manifest, "utf8")) as {
    name: string;
    title: string;
    licence: string;
    contributions: { contributor: string; path: string }[];
  };
  const parts = contributions.map(({ contributor, path }) => ({ contributor, folder: join(folder, path) }));
  return { name, title, licence, manifest, contributions: parts };
}

/** The documents of a folder, in the order of their names. */
export function readDocuments(folder: string): string[] {
  return readdirSync(folder)
    .sort()
    .map((name) => readFileSync(join(folder, name), "utf8"));
}
