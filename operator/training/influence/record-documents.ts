import { streamSafetensors } from "../../engine/model/safetensors-writer.ts";
import type { TokenisedDocument } from "../data/token-rows.ts";
import type { GradientSession } from "../gradient-session.ts";
import { fillBatches } from "../lora/batch-plan.ts";
import type { AdapterSettings } from "../lora/settings.ts";
import { GradientSketch } from "./sketch.ts";

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
  const { session, documents, settings } = options;
  const { layout } = session.parameters;
  const sketch = new GradientSketch(layout, options.sketch, settings.seed);
  const losses: number[] = [];
  const sketches: Float32Array[] = [];
  const gradient = new Float32Array(layout.size);
  for (const { rows } of documents) {
    gradient.fill(0);
    let loss = 0;
    for (const batch of fillBatches(rows, 1, settings.tokensPerBatch)) {
      loss += (await session.accumulate(batch, gradient)).loss;
    }
    losses.push(loss);
    if (options.sketch > 0) sketches.push(sketch.of(gradient));
  }
  if (options.sketch > 0) {
    streamSafetensors(
      options.path,
      [{ name: "sketches", shape: [documents.length, sketch.size], pieces: () => sketches }],
      { width: String(options.sketch), seed: String(settings.seed) },
    );
  }
  return losses;
}
