/**
 * `node scripts/bootstrap.js run scripts/train/influence-study.ts [--subsets 16] [--threads 2] [--json]`
 *
 * Does influence find out who made an adapter good? A DataNet is made of contributors of known worth: two good ones, one
 * that copies the first, one whose answers are random and one whose answers are wrong. The truth is retraining: without
 * each contributor (rank agreement), and on random halves of twelve contributions (linear datamodeling score, Park et al.
 * 2023). DataInf, cosine and product of gradients are compared with BM25 and with random numbers.
 */
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import type { TokenRow } from "../../operator/training/batch.ts";
import { GradientSession } from "../../operator/training/gradient-session.ts";
import { InfluenceMeter } from "../../operator/training/influence/influence-meter.ts";
import { loadFactors } from "../../operator/training/lora/adapter-weights.ts";
import { fillBatches } from "../../operator/training/lora/batch-plan.ts";
import { type AdapterSettings, DEFAULT_ADAPTER_SETTINGS } from "../../operator/training/lora/settings.ts";
import { trainAdapter } from "../../operator/training/lora/train-adapter.ts";
import { readTrainableModel } from "../../operator/training/model-folder.ts";
import { seeded } from "../../operator/training/random.ts";
import { BUNDLED_MODEL, WORK } from "./bundle-paths.ts";
import { drawFacts } from "./facts.ts";
import { bm25, spearman } from "./ranking.ts";
import { drawSkillExample } from "./skill-nets.ts";
import { SKILLS } from "./skills.ts";

const { values } = parseArgs({
  options: {
    subsets: { type: "string", default: "16" },
    threads: { type: "string", default: String(availableParallelism()) },
    model: { type: "string", default: BUNDLED_MODEL },
    json: { type: "boolean", default: false },
  },
});
const threads = Number(values.threads);
/** The skill that the study's adapter learns. */
const SKILL = SKILLS.find(({ name }) => name === "convert")!;
const EACH = 16;
const QUESTIONS = 24;
const SETTINGS: AdapterSettings = {
  ...DEFAULT_ADAPTER_SETTINGS,
  epochs: 4,
  learningRate: 2e-3,
  evaluation: 0,
};
const say = (text: string): void => console.error(text);

type Kind = "good" | "other" | "copy" | "noise" | "harmful";

/** Twelve contributions of five contributors. */
const KINDS: readonly Kind[] = [
  "good",
  "good",
  "good",
  "other",
  "other",
  "copy",
  "copy",
  "copy",
  "noise",
  "noise",
  "harmful",
  "harmful",
];

const contributions = KINDS.map((kind, i) => chats(kind, KINDS.slice(0, i).filter((other) => other === kind).length));

/** The chats of one contribution, a JSON line each. */
function chats(kind: Kind, index: number): string[] {
  // A copy says word for word what a good contributor says.
  const source = kind === "copy" ? "good" : kind;
  return Array.from({ length: EACH }, (_, i) => {
    const random = seeded(11, source, index, i);
    const { messages, answer } = drawSkillExample(random, SKILL, "train");
    const [another] = drawFacts(random, 1, { split: "train", ...SKILL });
    const words = answer.split(" ");
    // Wrong in the very place where the skill shows: the converted figure; or words in random order.
    const wrong = SKILL.answer(another).replace(/^.*, or /, `${answer.split(", or ")[0]}, or `);
    const said = source === "harmful" ? wrong : source === "noise" ? random.shuffled(words).join(" ") : answer;
    return JSON.stringify({ messages: [...messages, { role: "assistant", content: said }] });
  });
}

const model = readTrainableModel(values.model);
const questions = Array.from({ length: QUESTIONS }, (_, i) => {
  const { messages, answer } = drawSkillExample(seeded(12, "asked", i), SKILL, "fresh");
  const prompt = model.tokenizer.encode(model.tokenizer.applyTemplate(messages), { special: false });
  const tokens = Int32Array.from([...prompt, ...model.tokenizer.encode(answer, { special: false }), model.end]);
  const row: TokenRow = { tokens, weights: new Float32Array(tokens.length).fill(1, prompt.length) };
  return { row, text: [...messages.map(({ content }) => content), answer].join(" ") };
});

const study = join(WORK, "influence-study");
rmSync(study, { recursive: true, force: true });
const all = KINDS.map((_, i) => i);
const whole = await retrain("whole", all, 256);
const methods = await scoreContributions();
const truth = await leaveOneOut();
const lds = await datamodeling();
const report = {
  contributors: Object.fromEntries(
    [...new Set(KINDS)].map((kind) => [
      kind,
      {
        helped: truth.get(kind)!,
        ...Object.fromEntries([...methods].map(([name, m]) => [name, sumOf(m.scores, kind)])),
      },
    ]),
  ),
  methods: Object.fromEntries(
    [...methods].map(([name, { scores, seconds }]) => {
      const kinds = [...truth.keys()];
      const agreement = spearman(
        kinds.map((kind) => sumOf(scores, kind)),
        kinds.map((kind) => truth.get(kind)!),
      );
      return [name, { rankAgreement: agreement, lds: lds.get(name)!, seconds }];
    }),
  ),
};
console.log(values.json ? JSON.stringify(report) : JSON.stringify(report, null, 2));

/** Trains on some contributions. @returns loss of the questions, each on its own. */
async function retrain(name: string, chosen: readonly number[], sketch = 0): Promise<number[]> {
  const net = join(study, name, "net");
  for (const i of chosen) {
    const folder = join(net, `c${String(i).padStart(2, "0")}`);
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, "chats.jsonl"), `${contributions[i].join("\n")}\n`);
  }
  const output = join(study, name, "adapter");
  const begin = performance.now();
  await trainAdapter({
    model: values.model,
    dataNets: [net],
    output,
    settings: SETTINGS,
    threads,
    checkpointEvery: 10_000,
    sketch,
  });
  const lora = { ...loadFactors(output, model.config, SETTINGS.lora), plan: SETTINGS.lora };
  const session = new GradientSession({ config: model.config, base: model.weights, lora, threads });
  const losses: number[] = [];
  for (const { row } of questions) {
    const [batch] = fillBatches([row], 1, row.tokens.length);
    losses.push((await session.predict(batch)).loss);
  }
  await session.close();
  say(`${name}: loss ${mean(losses).toFixed(4)} (${((performance.now() - begin) / 1000).toFixed(0)} s)`);
  return losses;
}

interface Method {
  /** By question and contribution. */
  scores: number[][];
  seconds: number;
}

async function scoreContributions(): Promise<Map<string, Method>> {
  const begin = performance.now();
  const meter = new InfluenceMeter(values.model, join(study, "whole", "adapter"), threads);
  const measured = [];
  for (const { row } of questions) measured.push(await meter.contributions(row));
  await meter.close();
  const seconds = (performance.now() - begin) / 1000;
  const wordsBegin = performance.now();
  const documents = contributions.flat();
  const byWords = questions.map(({ text }) => {
    const scores = bm25(documents, text);
    return all.map((i) => mean(scores.slice(i * EACH, (i + 1) * EACH)));
  });
  const wordSeconds = (performance.now() - wordsBegin) / 1000;
  const random = seeded(13, "random");
  return new Map<string, Method>([
    ["dataInf", { scores: measured.map((list) => list.map(({ dataInf }) => dataInf)), seconds }],
    ["cosine", { scores: measured.map((list) => list.map(({ cosine }) => cosine)), seconds }],
    ["product", { scores: measured.map((list) => list.map(({ product }) => product)), seconds }],
    ["bm25", { scores: byWords, seconds: wordSeconds }],
    ["random", { scores: questions.map(() => all.map(() => random.normal())), seconds: 0 }],
  ]);
}

/** How much each contributor's presence lowers the loss. */
async function leaveOneOut(): Promise<Map<Kind, number>> {
  const helped = new Map<Kind, number>();
  for (const kind of new Set(KINDS)) {
    const losses = await retrain(
      `without-${kind}`,
      all.filter((i) => KINDS[i] !== kind),
    );
    helped.set(kind, mean(losses) - mean(whole));
  }
  return helped;
}

/**
 * Linear datamodeling score: for each question the rank correlation, over random halves of the contributions, between
 * the sum of a half's scores and what training on that half gives; its mean over the questions.
 */
async function datamodeling(): Promise<Map<string, number>> {
  const halves = Array.from({ length: Number(values.subsets) }, (_, i) =>
    seeded(14, "half", i)
      .shuffled(all)
      .slice(0, all.length / 2)
      .sort((a, b) => a - b),
  );
  const losses: number[][] = [];
  for (const [i, half] of halves.entries()) losses.push(await retrain(`half-${i}`, half));
  return new Map(
    [...methods].map(([name, { scores }]) => {
      const correlations = scores.map((of, question) =>
        spearman(
          halves.map((half) => half.reduce((total, i) => total + of[i], 0)),
          losses.map((loss) => -loss[question]),
        ),
      );
      return [name, mean(correlations)];
    }),
  );
}

/** Mean over questions of a contributor's score. */
function sumOf(scores: readonly (readonly number[])[], kind: Kind): number {
  return mean(scores.map((of) => of.reduce((total, score, i) => (KINDS[i] === kind ? total + score : total), 0)));
}

function mean(list: readonly number[]): number {
  return list.reduce((a, b) => a + b, 0) / list.length;
}
