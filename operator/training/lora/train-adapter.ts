import { createHash } from "node:crypto";
import { mkdirSync, rmSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { adapterHash } from "../../engine/model/adapter-folder.ts";
import { hashModel } from "../../engine/runtime/compiled-model.ts";
import { type DataNetFolder, readDataNetFolder } from "../data/data-net-folder.ts";
import { readDocuments } from "../data/documents.ts";
import { type TokenisedDocument, tokenise } from "../data/token-rows.ts";
import { TrainingDataError } from "../data/training-data-error.ts";
import { GradientSession } from "../gradient-session.ts";
import { recordDocuments, SKETCH_FILE } from "../influence/record-documents.ts";
import { type LineageManifest, writeManifest } from "../manifest.ts";
import { readTrainableModel } from "../model-folder.ts";
import { seeded } from "../random.ts";
import { type StepReport, train } from "../trainer.ts";
import { initialFactors, saveFactors } from "./adapter-weights.ts";
import { fillBatches, planBatches } from "./batch-plan.ts";
import type { AdapterSettings } from "./settings.ts";

export interface AdapterTrainingOptions {
  /** Folder of the base model. */
  readonly model: string;
  /** Folders of the DataNets, one to eight. */
  readonly dataNets: readonly string[];
  /** Folder that the adapter is written to. */
  readonly output: string;
  readonly settings: AdapterSettings;
  readonly threads: number;
  /** Steps between checkpoints. */
  readonly checkpointEvery: number;
  /** Numbers kept of each document's gradient per matrix; 0 records none. */
  readonly sketch: number;
  readonly onStart?: (plan: { documents: number; evaluation: number; tooLong: number; steps: number }) => void;
  readonly onStep?: (report: StepReport & { steps: number }) => void;
  readonly signal?: AbortSignal;
}

/** What came out of a training. */
export interface AdapterTrainingReport {
  readonly manifest: LineageManifest;
  /** Keccak-256 of the manifest file: what goes on-chain. */
  readonly manifestHash: string;
  readonly seconds: number;
  readonly tokensPerSecond: number;
}

/** Most DataNets that an adapter's lineage can name (the registry's bound). */
const MAX_DATANETS = 8;

/**
 * Trains a LoRA adapter on DataNets and writes it as a PEFT folder, with its lineage (`lineage.json`) and the training
 * documents' losses and gradient sketches (`influence.safetensors`) beside it.
 *
 * A killed run goes on from its last checkpoint when called again with the same arguments, to the same bits.
 * @returns undefined when the signal stopped it.
 * @throws TrainingDataError, ModelFormatError
 */
export async function trainAdapter(options: AdapterTrainingOptions): Promise<AdapterTrainingReport | undefined> {
  const { settings, output, threads } = options;
  if (options.dataNets.length === 0 || options.dataNets.length > MAX_DATANETS) {
    throw new TrainingDataError("An adapter", `names one to ${MAX_DATANETS} DataNets, not ${options.dataNets.length}`);
  }
  const model = readTrainableModel(options.model);
  const baseModel = { name: basename(resolve(options.model)), hash: hashModel(options.model) };
  const nets = options.dataNets.map(readDataNetFolder);
  const maxLength = Math.min(settings.maxLength, model.config.maxPositions);
  const documents = nets.flatMap((net, index) =>
    readDocuments(net).map((document) => ({
      net: index,
      ...tokenise(document, { tokenizer: model.tokenizer, end: model.end, maxLength }),
    })),
  );
  const { training, evaluation } = splitDocuments(documents, settings);
  const rows = training.flatMap((document) => document.rows);
  if (rows.length === 0) throw new TrainingDataError(nets[0].name, `holds no answer of at most ${maxLength} tokens`);
  const plan = planBatches({ ...settings, rows });
  const tooLong = documents.reduce((total, document) => total + document.tooLong, 0);
  options.onStart?.({ documents: training.length, evaluation: evaluation.length, tooLong, steps: plan.steps });

  const lora = { ...initialFactors(model.config, settings.lora, settings.seed), plan: settings.lora };
  const session = new GradientSession({ config: model.config, base: model.weights, lora, threads });
  const working = join(output, ".training");
  mkdirSync(working, { recursive: true });
  const started = performance.now();
  let tokens = 0;
  try {
    const evaluate = async (): Promise<number | null> => meanLoss(session, evaluation, settings);
    const before = await evaluate();
    const steps = await train({
      session,
      optimizer: { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: settings.weightDecay },
      schedule: {
        peak: settings.learningRate,
        warmup: Math.max(1, Math.round(settings.warmup * plan.steps)),
        steps: plan.steps,
        floor: 0.05,
      },
      clip: settings.clip,
      batches: plan.batches,
      checkpoint: {
        path: join(working, "checkpoint.safetensors"),
        every: options.checkpointEvery,
        run: fingerprint(baseModel.hash, nets, settings),
      },
      onStep: (report) => {
        tokens += report.tokens;
        options.onStep?.({ ...report, steps: plan.steps });
      },
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    });
    if (steps < plan.steps) return undefined;
    const seconds = (performance.now() - started) / 1000;
    saveFactors(output, model.config, settings.lora, baseModel.name, lora);
    const losses = await recordDocuments({
      session,
      documents: training,
      settings,
      sketch: options.sketch,
      path: join(output, SKETCH_FILE),
    });
    const place = ({ net, document }: Placed): [number, number, string] => [net, document.contribution, document.place];
    const manifest: LineageManifest = {
      format: "openledger-lineage-1",
      baseModel,
      adapterHash: adapterHash(output),
      settings,
      threads,
      dataNets: nets.map(({ id, version, name, contributions }) => ({
        id,
        version,
        name,
        contributions: contributions.map(({ id: number, contributor, contentRoot }) => {
          return { id: number, contributor, contentRoot };
        }),
      })),
      documents: training.map((document, i) => ({ at: place(document), loss: losses[i] })),
      evaluation: { documents: evaluation.map(place), lossBefore: before, lossAfter: await evaluate() },
    };
    const manifestHash = writeManifest(join(output, "lineage.json"), manifest);
    rmSync(working, { recursive: true });
    return { manifest, manifestHash, seconds, tokensPerSecond: tokens / seconds };
  } finally {
    await session.close();
  }
}

type Placed = TokenisedDocument & { readonly net: number };

/** Keeps some documents apart, drawn by the seed; at least one trains. */
function splitDocuments(documents: readonly Placed[], { evaluation, seed }: AdapterSettings) {
  const count = Math.min(documents.length - 1, Math.round(documents.length * evaluation));
  const apart = new Set(
    seeded(seed, "evaluation")
      .shuffled([...documents.keys()])
      .slice(0, count),
  );
  return {
    training: documents.filter((_, i) => !apart.has(i)),
    evaluation: documents.filter((_, i) => apart.has(i)),
  };
}

/** Mean loss per answer token, or null without documents. */
async function meanLoss(
  session: GradientSession,
  documents: readonly Placed[],
  settings: AdapterSettings,
): Promise<number | null> {
  const rows = documents.flatMap((document) => document.rows);
  if (rows.length === 0) return null;
  let loss = 0;
  for (const batch of fillBatches(rows, settings.rowsPerStep, settings.tokensPerBatch)) {
    loss += (await session.predict(batch)).loss;
  }
  return loss;
}

/** Tells runs apart: a checkpoint is continued only by the run that wrote it. */
function fingerprint(model: string, nets: readonly DataNetFolder[], settings: AdapterSettings): string {
  const roots = nets.map(({ contributions }) => contributions.map(({ contentRoot }) => contentRoot));
  return createHash("sha256")
    .update(JSON.stringify([model, roots, settings]))
    .digest("hex");
}
