import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { TrainingMessage } from "../../operator/training/data/documents.ts";
import { type Random, seeded } from "../../operator/training/random.ts";
import { drawFacts, FULL_VARIETY, type Split, writeDocuments, writeQuestion } from "./facts.ts";
import { INSTRUCTIONS } from "./lexicon.ts";
import type { Skill } from "./skills.ts";

/** People whose documents make up each skill's DataNet. */
const CONTRIBUTORS = ["ada", "boris", "clara", "dmitri"];
const DOCUMENTS_EACH = 120;

/** One question over some documents, and the answer that shows the skill. */
export interface SkillExample {
  readonly messages: readonly TrainingMessage[];
  readonly answer: string;
}

/** Draws a question that shows a skill. */
export function drawSkillExample(random: Random, skill: Skill, split: Split): SkillExample {
  const others = random.int(3);
  const [asked] = drawFacts(random, 1, { split, ...skill });
  const distractors = drawFacts(random, others, { split }).filter(
    (fact) => fact.attribute !== asked.attribute || fact.subject !== asked.subject,
  );
  const documents = writeDocuments(random, random.shuffled([asked, ...distractors]), FULL_VARIETY);
  const system = random.next() < 0.3 ? `${random.pick(INSTRUCTIONS)} ${documents}` : documents;
  return {
    messages: [
      { role: "system", content: system },
      { role: "user", content: writeQuestion(random, asked, FULL_VARIETY) },
    ],
    answer: skill.answer(asked),
  };
}

/** Writes a skill's DataNet: `datanet.json` and one file of chats per contributor. The same seed gives the same bytes. */
export function writeSkillNet(folder: string, skill: Skill, seed: number): void {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const contributions = CONTRIBUTORS.map((contributor) => ({ contributor, path: `contributions/${contributor}` }));
  for (const { contributor, path } of contributions) {
    const lines = Array.from({ length: DOCUMENTS_EACH }, (_, i) => {
      const { messages, answer } = drawSkillExample(seeded(seed, skill.name, contributor, i), skill, "train");
      return JSON.stringify({ messages: [...messages, { role: "assistant", content: answer }] });
    });
    mkdirSync(join(folder, path), { recursive: true });
    writeFileSync(join(folder, path, "chats.jsonl"), `${lines.join("\n")}\n`);
  }
  const manifest = {
    name: `skill-${skill.name}`,
    title: skill.title,
    version: 1,
    licence: "CC0-1.0",
    contributions,
  };
  writeFileSync(join(folder, "datanet.json"), `${JSON.stringify(manifest, null, 2)}\n`);
}
