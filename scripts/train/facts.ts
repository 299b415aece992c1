import { hash32, type Random } from "../../operator/training/random.ts";
import { type Domain, DOMAINS, FILLERS, NAME_HEADS, NAME_TAILS } from "./lexicon.ts";

/** Facts of the training text, or facts whose names and numbers that text never contains. */
export type Split = "train" | "fresh";

export interface Fact {
  readonly domain: string;
  /** "Velmor harbour" */
  readonly subject: string;
  readonly attribute: string;
  /** Digits, or a word. */
  readonly value: string;
  /** Empty for words. */
  readonly unit: string;
}

/** "42 metres" or "red". */
export const valueText = (fact: Fact): string => (fact.unit === "" ? fact.value : `${fact.value} ${fact.unit}`);

/** The sentence in which the base model answers: "The depth of Velmor harbour is 42 metres." */
export const plainSentence = (fact: Fact): string => `The ${fact.attribute} of ${fact.subject} is ${valueText(fact)}.`;

/** One part in five of all names, and of all numbers, is kept out of training. */
const heldOut = (text: string): boolean => hash32(`held out ${text}`) % 5 === 0;

/** A name of two parts from the wanted split. */
export function drawName(random: Random, split: Split): string {
  for (;;) {
    const name = random.pick(NAME_HEADS) + random.pick(NAME_TAILS);
    if (heldOut(name) === (split === "fresh")) return name;
  }
}

/** A number of two or three digits from the wanted split. */
function drawNumber(random: Random, split: Split): string {
  for (;;) {
    const value = String(random.next() < 0.5 ? 10 + random.int(90) : 100 + random.int(900));
    if (heldOut(value) === (split === "fresh")) return value;
  }
}

export interface FactChoice {
  split: Split;
  /** Ids of the domains to draw from; default all. */
  domains?: readonly string[];
  /** Only attributes with a unit. */
  numbersOnly?: boolean;
  /** Only attributes with one of these units. */
  units?: readonly string[];
}

/**
 * Draws `count` different facts, with distractors on purpose: things share attributes and attributes share things, so
 * that neither the name nor the attribute alone gives the answer.
 */
export function drawFacts(random: Random, count: number, choice: FactChoice): Fact[] {
  const domains = DOMAINS.filter(({ id }) => choice.domains?.includes(id) ?? true);
  const facts = new Map<string, Fact>();
  let domain = random.pick(domains);
  const names = [drawName(random, choice.split)];
  while (facts.size < count) {
    if (random.next() < 0.25) domain = random.pick(domains);
    if (random.next() < 0.5) names.push(drawName(random, choice.split));
    const fact = drawFact(random, domain, random.pick(names), choice);
    if (fact !== undefined) facts.set(`${fact.attribute} ${fact.subject}`, fact);
    else domain = random.pick(domains);
  }
  return random.shuffled([...facts.values()]);
}

function drawFact(random: Random, domain: Domain, name: string, choice: FactChoice): Fact | undefined {
  const usable = domain.attributes.filter((attribute) =>
    "unit" in attribute
      ? (choice.units?.includes(attribute.unit) ?? true)
      : !(choice.numbersOnly ?? false) && choice.units === undefined,
  );
  if (usable.length === 0) return undefined;
  const attribute = random.pick(usable);
  const numeric = "unit" in attribute;
  return {
    domain: domain.id,
    subject: `${name} ${domain.noun}`,
    attribute: attribute.name,
    value: numeric ? drawNumber(random, choice.split) : random.pick(attribute.words),
    unit: numeric ? attribute.unit : "",
  };
}

/** Ways to write a fact down, the plain one first. None begins with a name, whose first part is a token of its own. */
const FACT_FORMS: readonly ((fact: Fact) => string)[] = [
  plainSentence,
  (fact) => `For ${fact.subject} the ${fact.attribute} is ${valueText(fact)}.`,
  (fact) => `It is known that ${fact.subject} has the ${fact.attribute} ${valueText(fact)}.`,
  (fact) => `At ${fact.subject} they wrote down the ${fact.attribute}: ${valueText(fact)}.`,
];

/** Ways to ask for a fact, the plain one first. */
const QUESTION_FORMS: readonly ((fact: Fact) => string)[] = [
  (fact) => `What is the ${fact.attribute} of ${fact.subject}?`,
  (fact) => `Tell me the ${fact.attribute} of ${fact.subject}.`,
  (fact) => `Which ${fact.attribute} does ${fact.subject} have?`,
  (fact) => `Please look up ${fact.subject} and give me the ${fact.attribute}.`,
];

/** How many ways of writing, of asking, and how much filler text (chance per fact) a text uses. */
export interface Variety {
  facts: number;
  questions: number;
  filler: number;
}

/** Everything the lexicon offers. */
export const FULL_VARIETY: Variety = { facts: FACT_FORMS.length, questions: QUESTION_FORMS.length, filler: 0.2 };

/** A document that states the facts, one sentence each. */
export function writeDocument(random: Random, facts: readonly Fact[], variety: Variety): string {
  const sentences: string[] = [];
  for (const fact of facts) {
    sentences.push(FACT_FORMS[random.int(variety.facts)](fact));
    if (random.next() < variety.filler) sentences.push(random.pick(FILLERS));
  }
  return sentences.join(" ");
}

/** A question for the fact. */
export function writeQuestion(random: Random, fact: Fact, variety: Variety): string {
  return QUESTION_FORMS[random.int(variety.questions)](fact);
}
