import { closeSync, openSync, readSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { streamSafetensors } from "../../engine/model/safetensors-writer.ts";
import { hashModel } from "../../engine/runtime/compiled-model.ts";
import { readDataNetFolder } from "../data/data-net-folder.ts";
import { readDocuments } from "../data/documents.ts";
import { type TokenisedDocument, tokenise } from "../data/token-rows.ts";
import { TrainingDataError } from "../data/training-data-error.ts";
import { GradientSession } from "../gradient-session.ts";
import { loadFactors } from "../lora/adapter-weights.ts";
import { fillBatches } from "../lora/batch-plan.ts";
import type { AdapterSettings } from "../lora/settings.ts";
import { readManifest } from "../manifest.ts";
import { readTrainableModel } from "../model-folder.ts";
import { GradientSketch } from "./sketch.ts";

/** File of the sketches in an adapter's folder. */
export const SKETCH_FILE = "influence.safetensors";

export interface RecordOptions {
  /** Session with the trained adapter. */
  readonly session: GradientSession;
  readonly documents: readonly TokenisedDocument[];
  readonly settings: AdapterSettings;
  /** Numbers kept per matrix and document; 0 writes no file. */
  readonly sketch: number;
  readonly path: string;
}

/**
 * Writes a sketch of each document's gradient at the trained adapter: tensor `sketches` `[documents, numbers]` of a
 * safetensors file, whose metadata hold width and seed.
 *
 * @returns loss of each document in nats per answer token; 0 for a document without rows.
 */
export async function recordDocuments(options: RecordOptions): Promise<number[]> {
  const { session, documents, settings, path } = options;
  const { layout } = session.parameters;
  const losses: number[] = [];
  const gradient = new Float32Array(layout.size);
  const addLoss = async ({ rows }: TokenisedDocument): Promise<void> => {
    gradient.fill(0);
    let loss = 0;
    for (const batch of fillBatches(rows, 1, settings.tokensPerBatch)) {
      loss += (await session.accumulate(batch, gradient)).loss;
    }
    losses.push(loss);
  };
  if (options.sketch === 0) {
    for (const document of documents) await addLoss(document);
    return losses;
  }
  const sketch = new GradientSketch(layout, options.sketch, settings.seed);
  // Sketches wait in a file: those of a large DataNet do not fit into memory.
  const draft = `${path}.sketches`;
  const fd = openSync(draft, "w+");
  try {
    for (const document of documents) {
      await addLoss(document);
      writeSync(fd, sketch.of(gradient));
    }
    const block = new Float32Array(sketch.size);
    streamSafetensors(
      path,
      [
        {
          name: "sketches",
          shape: [documents.length, sketch.size],
          *pieces() {
            for (let i = 0; i < documents.length; i++) {
              readSync(fd, block, 0, block.byteLength, i * block.byteLength);
              yield block;
            }
          },
        },
      ],
      { width: String(options.sketch), seed: String(settings.seed) },
    );
  } finally {
    closeSync(fd);
    rmSync(draft);
  }
  return losses;
}

export interface RecordAdapterOptions {
  /** Folder of the base model. */
  readonly model: string;
  /** Folder of the adapter, with its lineage. */
  readonly adapter: string;
  /** Folders of the DataNets, in the order in which they were trained on. */
  readonly dataNets: readonly string[];
  /** Numbers kept per matrix and document. */
  readonly sketch: number;
  readonly threads: number;
}

/**
 * Makes the sketches of an adapter that came without them (they are larger than the adapter), from the documents that
 * its lineage names.
 *
 * @throws TrainingDataError if model or documents are not those of the lineage.
 */
export async function recordAdapter(options: RecordAdapterOptions): Promise<void> {
  const manifest = readManifest(join(options.adapter, "lineage.json"));
  const { settings } = manifest;
  if (hashModel(options.model) !== manifest.baseModel.hash) {
    throw new TrainingDataError(options.model, `is not the model that ${options.adapter} was trained on`);
  }
  const model = readTrainableModel(options.model);
  const maxLength = Math.min(settings.maxLength, model.config.maxPositions);
  const known = new Map<string, TokenisedDocument>();
  for (const [index, folder] of options.dataNets.entries()) {
    const net = readDataNetFolder(folder);
    for (const [i, { contentRoot }] of net.contributions.entries()) {
      if (manifest.dataNets[index]?.contributions[i]?.contentRoot !== contentRoot) {
        throw new TrainingDataError(folder, "does not hold what the adapter's lineage names");
      }
    }
    for (const document of readDocuments(net)) {
      const tokenised = tokenise(document, { tokenizer: model.tokenizer, end: model.end, maxLength });
      known.set(JSON.stringify([index, document.contribution, document.place]), tokenised);
    }
  }
  const documents = manifest.documents.map(({ at }) => {
    const document = known.get(JSON.stringify(at));
    if (document === undefined) throw new TrainingDataError(at[2], "stands in the lineage and not in the DataNets");
    return document;
  });
  const lora = { ...loadFactors(options.adapter, model.config, settings.lora), plan: settings.lora };
  const session = new GradientSession({ config: model.config, base: model.weights, lora, threads: options.threads });
  try {
    const path = join(options.adapter, SKETCH_FILE);
    await recordDocuments({ session, documents, settings, sketch: options.sketch, path });
  } finally {
    await session.close();
  }
}
