import { basename } from "node:path";
import { parseAdapterConfig } from "../engine/model/adapter-config.ts";
import { readModelConfig } from "../engine/model/config.ts";
import { ModelFormatError } from "../engine/model/format-error.ts";
import { CONFIG_LIMITS, readJsonObject } from "../engine/model/json-file.ts";
import { INDEX_LIMITS, weightPaths } from "../engine/model/model-weights.ts";
import { MAX_TEMPLATE_BYTES, readTokenizer, TOKENIZER_LIMITS } from "../engine/model/tokenizer.ts";
import { HubError } from "./hub-error.ts";
import type { HubFile } from "./listing.ts";

/** What a repository is fetched as: a base model, or a PEFT adapter. */
export type Kind = "model" | "adapter";

/** Names that are fetched, with the most bytes that the engine reads of them. Nothing else of a repository ever is. */
const DESCRIPTIONS: Record<Kind, Readonly<Record<string, number>>> = {
  model: {
    "config.json": CONFIG_LIMITS.maxBytes,
    "generation_config.json": CONFIG_LIMITS.maxBytes,
    "tokenizer.json": TOKENIZER_LIMITS.maxBytes,
    "tokenizer_config.json": CONFIG_LIMITS.maxBytes,
    "chat_template.jinja": MAX_TEMPLATE_BYTES,
  },
  adapter: { "adapter_config.json": CONFIG_LIMITS.maxBytes },
};
const REQUIRED: Record<Kind, readonly string[]> = {
  model: ["config.json", "tokenizer.json"],
  adapter: ["adapter_config.json"],
};
const WEIGHTS: Record<Kind, string> = { model: "model.safetensors", adapter: "adapter_model.safetensors" };
const INDEX = "model.safetensors.index.json";
/** A shard's name comes out of a file that strangers wrote, and becomes a file's name here. */
const SHARD = /^[A-Za-z0-9_][\w.-]{0,199}\.safetensors$/;

/**
 * The small files that say what the weights are: to be fetched first, for they may show that the rest is of no use.
 *
 * @param id Of the repository, for messages.
 * @throws {HubError} `unusable` where the repository holds nothing of this kind that the engine takes.
 */
export function describingFiles(kind: Kind, id: string, files: ReadonlyMap<string, HubFile>): HubFile[] {
  const isIndexed = kind === "model" && !files.has(WEIGHTS.model) && files.has(INDEX);
  if (!files.has(WEIGHTS[kind]) && !isIndexed) throw new HubError("unusable", `${id} ${whyNoWeights(kind, files)}`);
  const missing = REQUIRED[kind].filter((name) => !files.has(name));
  if (missing.length > 0)
    throw new HubError("unusable", `${id} has no ${missing.join(" and no ")}: the engine needs it.`);
  const wanted = { ...DESCRIPTIONS[kind], ...(isIndexed && { [INDEX]: INDEX_LIMITS.maxBytes }) };
  return Object.entries(wanted).flatMap(([name, maxBytes]) => {
    const file = files.get(name);
    if (file === undefined) return [];
    if (file.size > maxBytes) {
      throw new HubError("too_large", `${id}: ${name} has ${file.size} bytes; the engine reads ${maxBytes} at most.`);
    }
    return [file];
  });
}

/**
 * The weights that the small files lead to.
 *
 * @param folder Holds the small files, already fetched.
 * @throws {HubError} `unusable` where the engine could not serve them, or they lead to what the repository does not have.
 */
export function weightFiles(kind: Kind, id: string, files: ReadonlyMap<string, HubFile>, folder: string): HubFile[] {
  try {
    if (kind === "adapter") parseAdapterConfig(readJsonObject(`${folder}/adapter_config.json`, CONFIG_LIMITS));
    else readTokenizer(folder, readModelConfig(folder).vocabSize);
    const single = files.get(WEIGHTS[kind]);
    const names = single ? [single.name] : weightPaths(folder).map((path) => basename(path));
    return names.map((name) => {
      const file = SHARD.test(name) ? files.get(name) : undefined;
      if (file === undefined)
        throw new HubError("unusable", `${id}: its index names ${JSON.stringify(name)}, which it does not have.`);
      return file;
    });
  } catch (error) {
    if (!(error instanceof ModelFormatError)) throw error;
    throw new HubError("unusable", `${id}: ${error.message.replace(`${folder}/`, "")}`, error);
  }
}

/** Why a repository cannot be served, as far as its files' names tell. */
function whyNoWeights(kind: Kind, files: ReadonlyMap<string, HubFile>): string {
  const names = [...files.keys()];
  if (kind === "adapter" && files.has("config.json")) return "is no adapter but a model: give it with --model.";
  if (kind === "model" && files.has("adapter_config.json"))
    return "is no model but an adapter: give it with --adapter.";
  const pickle = names.find((name) => /\.(bin|pt|pth|ckpt)$/.test(name));
  if (pickle !== undefined) {
    return `has its weights as ${pickle} only. Such files can run code when they are read; only safetensors are fetched.`;
  }
  if (names.some((name) => name.endsWith(".gguf"))) {
    return "has GGUF files only: a llama.cpp server reads those (--model llamacpp+http://…).";
  }
  return `has no ${WEIGHTS[kind]}${kind === "model" ? ` and no ${INDEX}` : ""}.`;
}
