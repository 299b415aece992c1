import { join } from "node:path";
import type { TokenRow } from "../batch.ts";
import { GradientSession } from "../gradient-session.ts";
import { loadFactors } from "../lora/adapter-weights.ts";
import { fillBatches } from "../lora/batch-plan.ts";
import { type LineageManifest, readManifest } from "../manifest.ts";
import { readTrainableModel } from "../model-folder.ts";
import { DataInf, type InfluenceScores } from "./data-inf.ts";
import { SKETCH_FILE } from "./record-documents.ts";
import { SketchFile } from "./sketch-file.ts";

/** Scores of a contribution: the sums over its documents. */
export interface ContributionInfluence {
  /** Indices into the manifest's lists. */
  readonly dataNet: number;
  readonly contribution: number;
  readonly dataInf: number;
  readonly cosine: number;
  readonly product: number;
}

/** Which training documents of one adapter moved an answer. Holds the base model in memory; one measurement at a time. */
export class InfluenceMeter {
  readonly manifest: LineageManifest;
  private readonly session: GradientSession;
  private readonly file: SketchFile;
  private readonly dataInf: DataInf;

  /**
   * @param model folder of the base model
   * @param adapter folder that training wrote, with `lineage.json` and `influence.safetensors`
   * @throws if the folders do not belong together or hold no sketches.
   */
  constructor(model: string, adapter: string, threads: number) {
    const { config, weights } = readTrainableModel(model);
    this.manifest = readManifest(join(adapter, "lineage.json"));
    const plan = this.manifest.settings.lora;
    const lora = { ...loadFactors(adapter, config, plan), plan };
    this.file = new SketchFile(join(adapter, SKETCH_FILE), lora.layout);
    if (this.file.count !== this.manifest.documents.length) {
      throw new Error(`${adapter} has sketches of ${this.file.count} documents and a lineage of another number.`);
    }
    const sizes = lora.layout.parameters.map(({ size }) => size);
    this.dataInf = new DataInf(this.file, this.file.sketch.starts, sizes);
    this.session = new GradientSession({ config, base: weights, lora, threads });
  }

  /** Scores of every training document, in the manifest's order, for an answer whose tokens carry the row's weights. */
  async documents(answer: TokenRow): Promise<InfluenceScores> {
    const gradient = new Float32Array(this.session.parameters.layout.size);
    for (const batch of fillBatches([answer], 1, answer.tokens.length)) await this.session.accumulate(batch, gradient);
    return this.dataInf.score(this.file.sketch.of(gradient));
  }

  /** Scores by contribution, in the manifest's order. */
  async contributions(answer: TokenRow): Promise<ContributionInfluence[]> {
    const scores = await this.documents(answer);
    return this.manifest.dataNets.flatMap(({ contributions }, dataNet) =>
      contributions.map((_, contribution) => {
        const sum = (values: Float64Array): number =>
          this.manifest.documents.reduce((total, { at }, i) => {
            return at[0] === dataNet && at[1] === contribution ? total + values[i] : total;
          }, 0);
        return {
          dataNet,
          contribution,
          dataInf: sum(scores.dataInf),
          cosine: sum(scores.cosine),
          product: sum(scores.product),
        };
      }),
    );
  }

  async close(): Promise<void> {
    this.file.close();
    await this.session.close();
  }
}
