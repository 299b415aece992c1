import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseModelConfig } from "../../operator/engine/model/config.ts";
import type { ModelConfig } from "../../operator/engine/model/config-types.ts";
import { CONFIG_LIMITS, parseJsonObject } from "../../operator/engine/model/json-file.ts";
import { writeSafetensors } from "../../operator/engine/model/safetensors-writer.ts";
import { type Batch, makeBatch, rowWeight, type TokenRow } from "../../operator/training/batch.ts";
import { GradientSession, type ParameterValues } from "../../operator/training/gradient-session.ts";
import { initialWeights } from "../../operator/training/initial-weights.ts";
import { seeded } from "../../operator/training/random.ts";
import { type StepReport, train } from "../../operator/training/trainer.ts";
import { conversationParts, drawConversation, drawForms, drawRepeats, FINAL_STAGE, type Stage } from "./corpus.ts";
import { type ExactItem, exactMatches, share } from "./exact-match.ts";
import { END_ID, PAD_ID, SPECIAL_TOKENS } from "./tokenizer.ts";
import { MAX_POSITIONS, type Vocabulary } from "./vocabulary.ts";

/** What grows from stage to stage, and how many steps each takes. */
interface Lesson {
  readonly name: string;
  readonly steps: number;
  readonly stage: Stage;
}

const ONE_FORM = { facts: 1, questions: 1, filler: 0, documents: 0 };
const EASY: Stage = {
  variety: ONE_FORM,
  minFacts: 2,
  maxFacts: 4,
  numbersOnly: true,
  repeats: 0.25,
  forms: 0,
  instruction: 0,
  inline: 0,
  talk: 0,
  documentWeight: 1,
};

/** One template and numbers; then words too; then every way of writing and asking; then everything. */
const LESSONS: readonly Lesson[] = [
  { name: "numbers", steps: 1000, stage: EASY },
  { name: "words", steps: 500, stage: { ...EASY, minFacts: 1, maxFacts: 6, numbersOnly: false, repeats: 0.15 } },
  {
    name: "wording",
    steps: 1000,
    stage: {
      ...EASY,
      variety: { ...FINAL_STAGE.variety, filler: 0, documents: 0 },
      minFacts: 1,
      maxFacts: 6,
      numbersOnly: false,
      repeats: 0.1,
      documentWeight: FINAL_STAGE.documentWeight,
    },
  },
  { name: "everything", steps: 10_500, stage: FINAL_STAGE },
];

/** Tokens of a step: 16 rows of 128, in the last lesson every fourth time 8 rows of 256 with longer documents. */
const SHORT = { rows: 16, length: 128 };
const LONG = { rows: 8, length: 256 };
const LONG_STAGE: Stage = { ...FINAL_STAGE, minFacts: 4, maxFacts: 12 };

/** Steps at the end in which the learning rate falls. */
const FALL = 8000;

/** Steps of the whole training. */
export const BASE_STEPS = LESSONS.reduce((total, { steps }) => total + steps, 0);

/** `config.json` of the bundled model: 1.9 million parameters, an ordinary Llama. */
function baseConfig(vocabulary: number): Record<string, unknown> {
  return {
    architectures: ["LlamaForCausalLM"],
    model_type: "llama",
    vocab_size: vocabulary,
    hidden_size: 192,
    intermediate_size: 512,
    num_hidden_layers: 4,
    num_attention_heads: 3,
    num_key_value_heads: 3,
    hidden_act: "silu",
    max_position_embeddings: MAX_POSITIONS,
    rms_norm_eps: 1e-5,
    rope_theta: 10000,
    tie_word_embeddings: true,
    attention_bias: false,
    mlp_bias: false,
    eos_token_id: END_ID,
    pad_token_id: PAD_ID,
    torch_dtype: "float32",
  };
}

export interface BaseTrainingOptions {
  readonly vocabulary: Vocabulary;
  readonly seed: number;
  readonly threads: number;
  /** File that a killed run goes on from. */
  readonly checkpoint: string;
  readonly onStep?: (report: StepReport & { lesson: string }) => void;
  /** Called with the share of exact answers every 500 steps. */
  readonly onCheck?: (step: number, accuracy: number) => void;
  readonly signal?: AbortSignal;
}

/** Trains the bundled model from nothing. @returns its weights, or undefined when the signal stopped the run. */
export async function trainBaseModel(options: BaseTrainingOptions): Promise<ParameterValues | undefined> {
  const { vocabulary, seed, threads } = options;
  const config = parseBaseConfig(vocabulary.size);
  const start = { seed, deviation: 0.05, positional: { constant: 0.5, sharpness: 5 } };
  const base = initialWeights(config, start);
  const session = new GradientSession({ config, base, threads });
  const check = checkItems(vocabulary, seed, 192);
  try {
    const steps = await train({
      session,
      optimizer: { beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weightDecay: 0.1 },
      muon: { momentum: 0.95, weightDecay: 0.1 },
      schedule: { peak: 2e-3, warmup: 100, hold: BASE_STEPS - FALL - 100, steps: BASE_STEPS, floor: 0.02 },
      clip: 1,
      batches: (step) => [drawBatch(vocabulary, seed, step)],
      checkpoint: { path: options.checkpoint, every: 250, run: `base ${seed} ${JSON.stringify(LESSONS)}` },
      onStep: async (report) => {
        options.onStep?.({ ...report, lesson: lessonAt(report.step - 1).name });
        if (report.step % 500 === 0) options.onCheck?.(report.step, share(await exactMatches(session, check)));
      },
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    });
    return steps === BASE_STEPS ? base : undefined;
  } finally {
    await session.close();
  }
}

/** The configuration as the engine reads it. */
function parseBaseConfig(vocabulary: number): ModelConfig {
  const bytes = new TextEncoder().encode(JSON.stringify(baseConfig(vocabulary)));
  return parseModelConfig(parseJsonObject(bytes, "config.json", CONFIG_LIMITS));
}

/** Writes the model in Hugging Face's layout. */
export function writeBaseModel(folder: string, vocabulary: Vocabulary, { layout, values }: ParameterValues): void {
  mkdirSync(folder, { recursive: true });
  const json = (name: string, value: unknown): void =>
    writeFileSync(join(folder, name), `${JSON.stringify(value, null, 2)}\n`);
  json("config.json", baseConfig(vocabulary.size));
  json("generation_config.json", { eos_token_id: END_ID, pad_token_id: PAD_ID });
  json("tokenizer.json", vocabulary.tokenizerJson);
  json("tokenizer_config.json", vocabulary.tokenizerConfig);
  const tensors = layout.parameters.map(({ name, shape }) => ({ name, shape, data: layout.view(values, name) }));
  writeSafetensors(join(folder, "model.safetensors"), tensors);
}

/** Questions over fresh facts, with the documents or without them. */
function checkItems(vocabulary: Vocabulary, seed: number, count: number, withDocuments = true): ExactItem[] {
  const stage: Stage = { ...FINAL_STAGE, minFacts: 1, maxFacts: 6, inline: 0, talk: 0 };
  return Array.from({ length: count }, (_, i) => {
    const { system, turns } = drawConversation(seeded(seed, "check", i), stage, "fresh");
    const { question, answer } = turns[0];
    const context = withDocuments ? `<|system|>${system}<|end|>` : "";
    return {
      prompt: vocabulary.encode(`${context}<|user|>${question}<|end|><|assistant|>`),
      answer: vocabulary.encode(`${answer}<|end|>`),
    };
  });
}

function lessonAt(step: number): Lesson {
  let rest = step;
  for (const lesson of LESSONS) {
    if (rest < lesson.steps) return lesson;
    rest -= lesson.steps;
  }
  return LESSONS[LESSONS.length - 1];
}

/** The text of one step; every step draws new facts. */
function drawBatch(vocabulary: Vocabulary, seed: number, step: number): Batch {
  const lesson = lessonAt(step);
  const long = lesson.stage === FINAL_STAGE && step % 4 === 3;
  const shape = long ? LONG : SHORT;
  const stage = long ? LONG_STAGE : lesson.stage;
  const rows = Array.from({ length: shape.rows }, (_, row) =>
    drawRow(vocabulary, seed, step, row, stage, shape.length),
  );
  return makeBatch(shape, rows, 1 / rows.reduce((total, row) => total + rowWeight(row), 0));
}

/** Conversations one after the other until the row is full. */
function drawRow(
  vocabulary: Vocabulary,
  seed: number,
  step: number,
  row: number,
  stage: Stage,
  length: number,
): TokenRow {
  const random = seeded(seed, "row", step, row);
  const weights = new Float32Array(length).fill(1);
  const kind = random.next();
  if (kind < stage.repeats) {
    const ids = { first: SPECIAL_TOKENS.length, end: vocabulary.size, digit: vocabulary.digit };
    return { tokens: Int32Array.from(drawRepeats(random, length, ids)), weights };
  }
  const forms = kind < stage.repeats + stage.forms;
  const tokens: number[] = [];
  while (tokens.length < length) {
    const parts = forms
      ? [{ text: `${drawForms(random, "train")}<|end|>`, answer: true }]
      : conversationParts(drawConversation(random, stage, "train"));
    for (const { text, answer } of parts) {
      const ids = vocabulary.encode(text);
      weights.fill(answer ? 1 : stage.documentWeight, tokens.length, tokens.length + ids.length);
      tokens.push(...ids);
    }
  }
  return { tokens: Int32Array.from(tokens.slice(0, length)), weights };
}
