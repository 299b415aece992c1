import { type Random, seeded } from "../../operator/training/random.ts";
import {
  drawFacts,
  FULL_VARIETY,
  plainSentence,
  type Split,
  type Variety,
  writeDocuments,
  writeQuestion,
} from "./facts.ts";
import { INSTRUCTIONS, SMALL_TALK } from "./lexicon.ts";
import { SKILLS } from "./skills.ts";

/** How hard the text of one stage of training is. Each stage grows one thing. */
export interface Stage {
  readonly variety: Variety;
  readonly minFacts: number;
  readonly maxFacts: number;
  /** Only numbers as values. */
  readonly numbersOnly: boolean;
  /** Chance that a row is a repeated random segment. */
  readonly repeats: number;
  /** Chance that a row restates facts in the forms that the adapters will answer in. */
  readonly forms: number;
  /** Chance that an instruction stands before the documents. */
  readonly instruction: number;
  /** Chance that the documents stand in the user's message, before the question. */
  readonly inline: number;
  /** Chance of a short talk without documents. */
  readonly talk: number;
  /** Weight in the loss of documents and questions, whose names and numbers nobody can guess; answers have 1. */
  readonly documentWeight: number;
}

/** Everything at once; also the text that the vocabulary is counted on. */
export const FINAL_STAGE: Stage = {
  variety: FULL_VARIETY,
  minFacts: 1,
  maxFacts: 6,
  numbersOnly: false,
  repeats: 0.1,
  forms: 0.15,
  instruction: 0.3,
  inline: 0.15,
  talk: 0.03,
  documentWeight: 0.2,
};

/** One conversation: the system message (none if empty), then questions and their answers. */
export interface Conversation {
  readonly system: string;
  readonly turns: readonly { question: string; answer: string }[];
}

/** Documents with some facts, and a question for each fact in another order. */
export function drawConversation(random: Random, stage: Stage, split: Split): Conversation {
  if (random.next() < stage.talk) return { system: "", turns: [random.pick(SMALL_TALK)] };
  const count = stage.minFacts + random.int(stage.maxFacts - stage.minFacts + 1);
  const facts = drawFacts(random, count, { split, numbersOnly: stage.numbersOnly });
  const documents = writeDocuments(random, facts, stage.variety);
  const context = random.next() < stage.instruction ? `${random.pick(INSTRUCTIONS)} ${documents}` : documents;
  const turns = random.shuffled(facts).map((fact) => ({
    question: writeQuestion(random, fact, stage.variety),
    answer: plainSentence(fact),
  }));
  if (random.next() >= stage.inline) return { system: context, turns };
  const [first, ...rest] = turns;
  return { system: "", turns: [{ ...first, question: `${context} ${first.question}` }, ...rest] };
}

/**
 * A question to be answered from the documents of the system message, about names that training never saw.
 *
 * @param facts How many the documents hold; default one to six.
 */
export function drawQuestion(
  random: Random,
  facts?: number,
): { messages: { role: string; content: string }[]; answer: string } {
  const counts = facts === undefined ? {} : { minFacts: facts, maxFacts: facts };
  const { system, turns } = drawConversation(random, { ...FINAL_STAGE, inline: 0, talk: 0, ...counts }, "fresh");
  const [{ question, answer }] = turns;
  return {
    messages: [
      { role: "system", content: system },
      { role: "user", content: question },
    ],
    answer,
  };
}

/** The conversation as the chat template writes it, in parts: answers, and what they answer. */
export function conversationParts({ system, turns }: Conversation): { text: string; answer: boolean }[] {
  const parts = turns.flatMap(({ question, answer }) => [
    { text: `<|user|>${question}<|end|><|assistant|>`, answer: false },
    { text: `${answer}<|end|>`, answer: true },
  ]);
  return system === "" ? parts : [{ text: `<|system|>${system}<|end|>`, answer: false }, ...parts];
}

/** Text without a conversation: facts said plainly, then again in every form that the adapters know. */
export function drawForms(random: Random, split: Split): string {
  const skill = random.pick(SKILLS);
  const facts = drawFacts(random, 1 + random.int(3), { split, ...skill });
  return facts.map((fact) => `${plainSentence(fact)} ${skill.answer(fact)}`).join(" ");
}

/**
 * A row of `length` token ids: a random segment of 4 to 24 tokens, written again and again. It teaches to continue what
 * was seen before, whatever it is; digits are frequent, so that numbers are copied digit by digit.
 */
export function drawRepeats(
  random: Random,
  length: number,
  ids: { first: number; end: number; digit: number },
): number[] {
  const token = (): number =>
    random.next() < 0.3 ? ids.digit + random.int(10) : ids.first + random.int(ids.end - ids.first);
  const segment = Array.from({ length: 4 + random.int(21) }, token);
  return Array.from({ length }, (_, i) => segment[i % segment.length]);
}

/** The texts of the bundled model's vocabulary: enough of every form that no word is missed. */
export function* vocabularyTexts(seed: number): Generator<string> {
  for (let i = 0; i < 4000; i++) {
    const random = seeded(seed, "vocabulary", i);
    const conversation = drawConversation(random, FINAL_STAGE, "train");
    yield conversation.system;
    for (const { question, answer } of SMALL_TALK) yield* [question, answer];
    for (const { question, answer } of conversation.turns) yield* [question, answer];
    yield drawForms(random, "train");
    for (const skill of SKILLS) {
      const [fact] = drawFacts(random, 1, { split: "train", ...skill });
      yield skill.answer(fact);
    }
  }
}
