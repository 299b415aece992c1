import { join } from "node:path";
import { GradientSession } from "../../operator/training/gradient-session.ts";
import { loadFactors } from "../../operator/training/lora/adapter-weights.ts";
import { readManifest } from "../../operator/training/manifest.ts";
import { readTrainableModel, type TrainableModel } from "../../operator/training/model-folder.ts";
import { seeded } from "../../operator/training/random.ts";
import { adapterFolder, BUNDLED_MODEL } from "./bundle-paths.ts";
import { drawQuestion, FINAL_STAGE } from "./corpus.ts";
import { type ExactItem, exactMatches, share } from "./exact-match.ts";
import { drawSkillExample } from "./skill-nets.ts";
import { SKILLS, type Skill } from "./skills.ts";

/** Shares of questions answered exactly, to the character. */
export interface BundleFigures {
  /** Base model, the documents that hold the answer in its context. */
  readonly contextAccuracy: number;
  /** Base model, the same questions without any document. */
  readonly noContextAccuracy: number;
  readonly adapters: Readonly<Record<string, AdapterFigures>>;
}

export interface AdapterFigures {
  /** Answers in the adapter's form, with the adapter. */
  readonly with: number;
  /** The same answers expected of the base model. */
  readonly without: number;
  /** The same answers expected of all the other adapters, on average. */
  readonly wrong: number;
}

export interface EvaluationOptions {
  /** Questions for the base model, and for each adapter. */
  readonly questions: number;
  readonly threads: number;
  /** Questions other than those of another seed; all are about names that training never saw. */
  readonly seed: number;
}

/** Asks the bundled model and its adapters about facts whose names and numbers training never saw. */
export async function evaluateBundle({ questions, threads, seed }: EvaluationOptions): Promise<BundleFigures> {
  const model = readTrainableModel(BUNDLED_MODEL);
  const base = new GradientSession({ config: model.config, base: model.weights, threads });
  const drawn = Array.from({ length: questions }, (_, i) => drawQuestion(seeded(seed, "question", i)));
  const asked = drawn.map(({ messages, answer }) => toItem(model, messages, answer));
  const bare = drawn.map(({ messages, answer }) => toItem(model, messages.slice(1), answer));
  const skillItems = new Map(SKILLS.map((skill) => [skill.name, itemsOf(model, skill, questions, seed)]));
  const contextAccuracy = share(await exactMatches(base, asked));
  const noContextAccuracy = share(await exactMatches(base, bare));
  const results = new Map<string, Map<string, number>>();
  for (const { name } of SKILLS) {
    const plan = readManifest(join(adapterFolder(name), "lineage.json")).settings.lora;
    const lora = { ...loadFactors(adapterFolder(name), model.config, plan), plan };
    const session = new GradientSession({ config: model.config, base: model.weights, lora, threads });
    const shares = new Map<string, number>();
    for (const [skill, items] of skillItems) {
      // Other adapters' skills are asked for often enough to see that they are not there.
      const some = skill === name ? items : items.slice(0, Math.ceil(questions / 4));
      shares.set(skill, share(await exactMatches(session, some)));
    }
    results.set(name, shares);
    await session.close();
  }
  const adapters: Record<string, AdapterFigures> = {};
  for (const [skill, items] of skillItems) {
    const others = [...results].filter(([name]) => name !== skill).map(([, shares]) => shares.get(skill)!);
    adapters[skill] = {
      with: results.get(skill)!.get(skill)!,
      without: share(await exactMatches(base, items)),
      wrong: others.reduce((a, b) => a + b, 0) / others.length,
    };
  }
  await base.close();
  return { contextAccuracy, noContextAccuracy, adapters };
}

/**
 * Shares of questions that a base model answers exactly when one, two, ... six facts stand in its documents.
 *
 * @param folder The model's.
 */
export async function accuracyByFacts(folder: string, { questions, threads, seed }: EvaluationOptions) {
  const model = readTrainableModel(folder);
  const base = new GradientSession({ config: model.config, base: model.weights, threads });
  const shares: number[] = [];
  for (let facts = 1; facts <= FINAL_STAGE.maxFacts; facts++) {
    const items = Array.from({ length: questions }, (_, i) => {
      const { messages, answer } = drawQuestion(seeded(seed, "facts", facts, i), facts);
      return toItem(model, messages, answer);
    });
    shares.push(share(await exactMatches(base, items)));
  }
  await base.close();
  return shares;
}

function itemsOf(model: TrainableModel, skill: Skill, count: number, seed: number): ExactItem[] {
  return Array.from({ length: count }, (_, i) => {
    const { messages, answer } = drawSkillExample(seeded(seed, "skill", skill.name, i), skill, "fresh");
    return toItem(model, messages, answer);
  });
}

function toItem(
  { tokenizer, end }: TrainableModel,
  messages: readonly { role: string; content: string }[],
  answer: string,
): ExactItem {
  return {
    prompt: tokenizer.encode(tokenizer.applyTemplate(messages), { special: false }),
    answer: [...tokenizer.encode(answer, { special: false }), end],
  };
}
