import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Effect } from "../attribution/shares.ts";
import type { RegistryMirror } from "../chain/mirror.ts";
import { adapterHash } from "../engine/model/adapter-folder.ts";
import type { Hex } from "../protocol/bytes.ts";
import type { Composition } from "../protocol/composition.ts";
import { InfluenceMeter } from "../training/influence/influence-meter.ts";
import { SKETCH_FILE } from "../training/influence/record-documents.ts";
import { lineageOf } from "./agent-shelf.ts";
import { standingContributions } from "./data-net-shelf.ts";

/** The largest effect of an answer: DataInf's scale means nothing, only how the scores compare. */
const LARGEST = 1_000_000;

interface TrainingInfluenceOptions {
  readonly mirror: RegistryMirror;
  /** Folder of the base model. */
  readonly model: string;
  /** Its folder `sketches` has adapters as training wrote them, each under its registered hash (64 hex digits). */
  readonly directory: string;
  readonly threads: number;
}

/** Tokens of a prompt and of the answer to it. */
export interface AnsweredPrompt {
  readonly prompt: readonly number[];
  readonly answer: readonly number[];
}

/**
 * Which training data of an agent's adapters moved an answer.
 *
 * Only what the operator itself holds is measured from: an adapter's hash covers its weights, not the gradient sketches
 * beside them, so that sketches from its author's address could credit anybody. An adapter without sketches here adds
 * nothing, and the composition says where an empty pool goes.
 */
export class TrainingInfluence {
  readonly #options: TrainingInfluenceOptions;
  readonly #meters = new Map<Hex, InfluenceMeter | undefined>();
  /** One measurement at a time: each wants every thread and the gradient's memory. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(options: TrainingInfluenceOptions) {
    this.#options = options;
  }

  measure(composition: Composition, answered: AnsweredPrompt): Promise<Effect[]> {
    const mine = this.#last.then(() => this.#measure(composition, answered));
    this.#last = mine.catch(() => {});
    return mine;
  }

  async close(): Promise<void> {
    await this.#last;
    for (const meter of this.#meters.values()) await meter?.close();
    this.#meters.clear();
  }

  async #measure(composition: Composition, { prompt, answer }: AnsweredPrompt): Promise<Effect[]> {
    const { mirror } = this.#options;
    const tokens = Int32Array.from([...prompt, ...answer]);
    const weights = new Float32Array(tokens.length).fill(1, prompt.length);
    const scores: { id: number; via: number; score: number }[] = [];
    const lineage = lineageOf(composition, mirror);
    for (const [at, { id, version, scale }] of composition.adapters.entries()) {
      const meter = this.#meter(mirror.adapterVersion(id, version)!.weightsHash);
      if (!meter) continue;
      const known = registeredRoots(
        lineage.filter(({ adapter }) => adapter === at),
        mirror,
      );
      for (const { dataNet, contribution, dataInf } of await meter.contributions({ tokens, weights })) {
        const { contentRoot } = meter.manifest.dataNets[dataNet].contributions[contribution];
        const registered = known.get(contentRoot.toLowerCase());
        if (registered) scores.push({ ...registered, score: (dataInf * scale) / 1e6 });
      }
    }
    const largest = Math.max(0, ...scores.map(({ score }) => Math.abs(score)));
    if (!(largest > 0) || !Number.isFinite(largest)) return [];
    return scores.map(({ id, via, score }) => ({ id, via, effect: Math.round((score / largest) * LARGEST) + 0 }));
  }

  #meter(hash: Hex): InfluenceMeter | undefined {
    if (this.#meters.has(hash)) return this.#meters.get(hash);
    const { model, directory, threads } = this.#options;
    const adapter = join(directory, "sketches", hash.slice(2).toLowerCase());
    const there = existsSync(join(adapter, SKETCH_FILE)) && existsSync(join(adapter, "lineage.json"));
    const meter =
      there && adapterHash(adapter) === hash.slice(2) ? new InfluenceMeter(model, adapter, threads) : undefined;
    this.#meters.set(hash, meter);
    return meter;
  }
}

/**
 * What the contents that an adapter was trained on are registered as. Training knows contributions by the root of their
 * content, with or without ids; of several with one root the first registered earns. Those withdrawn earn nothing.
 */
function registeredRoots(
  lineage: readonly { dataNet: number; version: number; via: number }[],
  mirror: RegistryMirror,
): Map<string, { id: number; via: number }> {
  const known = new Map<string, { id: number; via: number }>();
  for (const { dataNet, version, via } of lineage) {
    for (const id of standingContributions(mirror, { id: dataNet, version })) {
      const root = mirror.contentOf(id)!.contentHash.toLowerCase();
      const before = known.get(root);
      if (!before || id < before.id) known.set(root, { id, via });
    }
  }
  return known;
}
