import { createHash } from "node:crypto";
import { closeSync, existsSync, mkdirSync, openSync, readSync, renameSync, rmSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { cacheHome } from "../cache-home.ts";
import type { AttentionKind } from "../graph/attention.ts";
import { inferenceGraph } from "../graph/inference-graph.ts";
import type { LoraKind } from "../graph/lora-delta.ts";
import { Matrices, type MatrixOptions } from "../graph/matrices.ts";
import { matrixSources } from "../graph/matrix-sources.ts";
import type { ModelConfig } from "../model/config-types.ts";
import { ModelWeights, weightPaths } from "../model/model-weights.ts";
import { saveModels, WEIGHTS_FILE } from "../onnx/serialise.ts";

/** Raise when graphs change in a way that makes stored ones wrong. */
const GRAPH_VERSION = 11;

const ATTENTION_KINDS: AttentionKind[] = ["decode", "ragged", "flash"];
const LORA_KINDS: LoraKind[] = ["none", "aligned", "single", "blend"];

/** Folder for what is computed from files once and kept: graphs, weights, hashes. */
export function cacheFolder(chosen: string | undefined): string {
  return chosen ?? join(cacheHome(), "graphs");
}

/**
 * `host`: pools in host memory. `resident`: pools on a device. `int8`: as `host`, matrices multiplied in 8 bits; only
 * where a model was compiled for that.
 */
export type GraphForm = "host" | "resident" | "int8";

export interface CompiledModel {
  /** Hex SHA-256 over the model folder's configuration and weights. */
  readonly modelHash: string;
  /** File of a graph; the weights lie beside it. */
  path(attention: AttentionKind, lora: LoraKind, form?: GraphForm): string;
  /** Bytes of the stored weights. */
  readonly weightBytes: number;
}

/**
 * Writes the graphs of a model into `cache`, or finds them there from an earlier run. The key is the content of the
 * model's files and the options, so a changed file never meets stale graphs.
 *
 * @throws ModelFormatError when the weights are broken
 */
export async function compileModel(
  folder: string,
  config: ModelConfig,
  options: MatrixOptions,
  cache: string,
): Promise<CompiledModel> {
  const modelHash = hashModel(folder);
  const key = createHash("sha256")
    .update(JSON.stringify([GRAPH_VERSION, modelHash, options.quantisation, options.exact, options.int8]))
    .digest("hex");
  const target = join(cache, key.slice(0, 32));
  if (!existsSync(target)) {
    mkdirSync(cache, { recursive: true });
    const draft = `${target}.${process.pid}.draft`;
    rmSync(draft, { recursive: true, force: true });
    try {
      await writeGraphs(folder, config, options, draft);
      renameSync(draft, target);
    } catch (error) {
      rmSync(draft, { recursive: true, force: true });
      // Another process may have put the same graphs in place meanwhile.
      if (!existsSync(target)) throw error;
    }
  }
  return {
    modelHash,
    path: (attention, lora, form = "host") => join(target, `${graphName(attention, lora, form)}.onnx`),
    weightBytes: statSync(join(target, WEIGHTS_FILE)).size,
  };
}

function graphName(attention: AttentionKind, lora: LoraKind, form: GraphForm): string {
  return `${form === "host" ? "" : `${form}-`}${attention}-${lora}`;
}

async function writeGraphs(folder: string, config: ModelConfig, options: MatrixOptions, target: string): Promise<void> {
  const weights = new ModelWeights(folder, config);
  try {
    const sources = matrixSources(weights, config);
    const matrices = new Matrices({ ...options, int8: false }, sources);
    const forms: [GraphForm, Matrices][] = [
      ["host", matrices],
      ["resident", matrices],
      ...(options.int8 ? [["int8", new Matrices(options, sources)] as [GraphForm, Matrices]] : []),
    ];
    const graphs = Object.fromEntries(
      ATTENTION_KINDS.flatMap((attention) =>
        LORA_KINDS.flatMap((lora) =>
          // Elsewhere than on the processor nothing is laid out as flash.
          forms
            .filter(([form]) => form !== "resident" || attention !== "flash")
            .map(([form, own]) => [
              graphName(attention, lora, form),
              inferenceGraph(config, own, { attention, lora, resident: form === "resident" }),
            ]),
        ),
      ),
    );
    await saveModels(graphs, target);
  } finally {
    weights.close();
  }
}

/** What decides an answer beside the weights: shapes, ends, tokens and the form of a conversation. */
const MODEL_FILES = [
  "config.json",
  "generation_config.json",
  "tokenizer.json",
  "tokenizer_config.json",
  "chat_template.jinja",
];

/**
 * Hex SHA-256 over everything in a model folder that decides its answers: for each file its name, a zero byte, its size
 * in decimal, a zero byte, and its bytes. It is the base model's hash in registries and lineages.
 *
 * @throws ModelFormatError when weights are missing.
 */
export function hashModel(folder: string): string {
  const hash = createHash("sha256");
  const buffer = Buffer.allocUnsafe(4 << 20);
  const files = MODEL_FILES.map((name) => join(folder, name)).filter((path) => existsSync(path));
  for (const path of [...files, ...weightPaths(folder)]) {
    const fd = openSync(path, "r");
    try {
      hash.update(`${basename(path)}\0${statSync(path).size}\0`);
      for (let got = 0; (got = readSync(fd, buffer)) > 0; ) hash.update(buffer.subarray(0, got));
    } finally {
      closeSync(fd);
    }
  }
  return hash.digest("hex");
}
