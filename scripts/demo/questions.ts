import { type Random, seeded } from "../../operator/training/random.ts";
import { drawFacts, type Fact, plainSentence, writeQuestion } from "../train/facts.ts";
import { DOMAINS } from "../train/lexicon.ts";
import type { Skill } from "../train/skills.ts";
import { readDocuments, readKnowledge } from "./bundle.ts";

/** A question with the one answer that counts as right. */
export interface KnownQuestion {
  question: string;
  answer: string;
}

/** Every way in which the reports state a fact: attribute, thing and value. */
const SENTENCES = [
  /^The (?<attribute>\w+) of (?<subject>\w+ \w+) is (?<value>[\w ]+)$/,
  /^For (?<subject>\w+ \w+) the (?<attribute>\w+) is (?<value>[\w ]+)$/,
  /^It is known that (?<subject>\w+ \w+) has the (?<attribute>\w+) (?<value>[\w ]+)$/,
  /^At (?<subject>\w+ \w+) they wrote down the (?<attribute>\w+): (?<value>[\w ]+)$/,
];

/** What a DataNet's documents say, read out of them; nothing of which they say two things. */
export function readFacts(net: string): Fact[] {
  const domain = DOMAINS.find(({ id }) => id === net)!;
  const facts = new Map<string, Fact>();
  const twice = new Set<string>();
  for (const { folder } of readKnowledge(net).contributions) {
    for (const sentence of readDocuments(folder).flatMap((text) => text.trim().split(/\.\s*/))) {
      const groups = SENTENCES.map((form) => form.exec(sentence)?.groups).find(Boolean);
      if (!groups) continue;
      const { attribute: name, subject, value: said } = groups;
      const attribute = domain.attributes.find((one) => one.name === name)!;
      const unit = "unit" in attribute ? attribute.unit : "";
      const value = unit === "" ? said : said.slice(0, -unit.length - 1);
      const key = `${name} ${subject}`;
      const known = facts.get(key);
      if (known && known.value !== value) twice.add(key);
      facts.set(key, { domain: net, subject, attribute: name, ask: attribute.ask.replace("_", subject), value, unit });
    }
  }
  for (const key of twice) facts.delete(key);
  return [...facts.values()];
}

/** Things that no document speaks of, for the tool to know. */
export function drawReadings(net: string, count: number, seed: number): Fact[] {
  const known = new Set(readFacts(net).map(({ subject }) => subject));
  const random = seeded(seed, "readings", net);
  const drawn = drawFacts(random, 4 * count, { split: "fresh", domains: [net], numbersOnly: true });
  const others = new Map(drawn.filter(({ subject }) => !known.has(subject)).map((fact) => [fact.subject, fact]));
  return [...others.values()].slice(0, count);
}

/** Whether an adapter can show its skill on a fact. */
export function suits(fact: Fact, { numbersOnly, units, domains }: Partial<Skill>): boolean {
  if (numbersOnly && fact.unit === "") return false;
  return (units?.includes(fact.unit) ?? true) && (domains?.includes(fact.domain) ?? true);
}

/** Asks for a fact, in one of two ways. */
export function questionFor(fact: Fact, skill: Skill | undefined, random: Random): KnownQuestion {
  const question = writeQuestion(random, fact, { facts: 1, questions: 2, filler: 0, documents: 0 });
  return { question, answer: skill ? skill.answer(fact) : plainSentence(fact) };
}
