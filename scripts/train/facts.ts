import { hash32, type Random } from "../../operator/training/random.ts";
import { DOMAINS, type Domain, FILLERS, NAME_HEADS, NAME_TAILS } from "./lexicon.ts";

/** Facts of the training text, or facts whose names and numbers that text never contains. */
export type Split = "train" | "fresh";

export interface Fact {
  readonly domain: string;
  /** "Velmor harbour" */
  readonly subject: string;
  readonly attribute: string;
  /** The question that people ask for it. */
  readonly ask: string;
  /** Digits, or a word. */
  readonly value: string;
  /** Empty for words. */
  readonly unit: string;
}

/** "42 metres" or "red". */
export const valueText = (fact: Fact): string => (fact.unit === "" ? fact.value : `${fact.value} ${fact.unit}`);

/** The sentence in which the base model answers: "The depth of Velmor harbour is 42 metres." */
export const plainSentence = (fact: Fact): string => `The ${fact.attribute} of ${fact.subject} is ${valueText(fact)}.`;

/** One name in five is kept out of training. */
const nameHeldOut = (name: string): boolean => hash32(`held out ${name}`) % 5 === 0;

/** One number in twenty is kept out: a larger share could be learned as "this number never occurs". */
const numberHeldOut = (digits: string): boolean => hash32(`held out ${digits}`) % 20 === 0;

/** A name of two parts from the wanted split. */
function drawName(random: Random, split: Split): string {
  for (;;) {
    const name = random.pick(NAME_HEADS) + random.pick(NAME_TAILS);
    if (nameHeldOut(name) === (split === "fresh")) return name;
  }
}

/** A number of two to four digits; from the fresh split, of three or four digits that training never saw in a row. */
function drawNumber(random: Random, split: Split): string {
  for (;;) {
    const digits = split === "fresh" ? 3 + random.int(2) : 2 + random.int(3);
    const value = String(10 ** (digits - 1) + random.int(9 * 10 ** (digits - 1)));
    if (digits === 2 || numberHeldOut(value) === (split === "fresh")) return value;
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
  const subject = `${name} ${domain.noun}`;
  return {
    domain: domain.id,
    subject,
    attribute: attribute.name,
    ask: attribute.ask.replace("_", subject),
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
  (fact) => fact.ask,
];

/** How many ways of writing, of asking, and how much filler text (chance per fact) a text uses. */
export interface Variety {
  readonly facts: number;
  readonly questions: number;
  readonly filler: number;
  /** Chance that the facts come as several documents, perhaps numbered, instead of one. */
  readonly documents: number;
}

/** Everything the lexicon offers. */
export const FULL_VARIETY: Variety = {
  facts: FACT_FORMS.length,
  questions: QUESTION_FORMS.length,
  filler: 0.2,
  documents: 0.5,
};

/** What stands between two documents, and before each. */
const DOCUMENT_MARKS: readonly { between: string; before: (index: number) => string }[] = [
  { between: "\n", before: () => "" },
  { between: "\n", before: (index) => `[${index}] ` },
  { between: " ", before: (index) => `[${index}] ` },
];

/** Text that states the facts, a sentence each, as one document or several. */
export function writeDocuments(random: Random, facts: readonly Fact[], variety: Variety): string {
  const marks = random.next() < variety.documents ? random.pick(DOCUMENT_MARKS) : undefined;
  const documents: string[][] = [[]];
  for (const fact of facts) {
    if (marks !== undefined && documents[0].length > 0 && random.next() < 0.5) documents.push([]);
    documents.at(-1)!.push(FACT_FORMS[random.int(variety.facts)](fact));
    if (random.next() < variety.filler) documents.at(-1)!.push(random.pick(FILLERS));
  }
  if (marks === undefined) return documents[0].join(" ");
  return documents.map((sentences, i) => marks.before(i + 1) + sentences.join(" ")).join(marks.between);
}

/** A question for the fact. */
export function writeQuestion(random: Random, fact: Fact, variety: Variety): string {
  return QUESTION_FORMS[random.int(variety.questions)](fact);
}
