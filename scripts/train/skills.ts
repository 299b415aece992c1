import { type Fact, plainSentence, valueText } from "./facts.ts";

/** One adapter's skill: how it answers, and which facts show it. */
export interface Skill {
  readonly name: string;
  readonly title: string;
  /** The answer with the skill. Without it the model gives `plainSentence`. */
  readonly answer: (fact: Fact) => string;
  /** Only attributes with a number. */
  readonly numbersOnly?: boolean;
  /** Only attributes measured in these units. */
  readonly units?: readonly string[];
  readonly domains?: readonly string[];
}

const SMALLER: Record<string, { unit: string; zeros: string }> = {
  metres: { unit: "centimetres", zeros: "00" },
  kilometres: { unit: "metres", zeros: "000" },
  tonnes: { unit: "kilograms", zeros: "000" },
  kilowatts: { unit: "watts", zeros: "000" },
};
const DIGITS = "zero one two three four five six seven eight nine".split(" ");

/** Risk by what a proposal asks of the treasury, in crowns. */
function risk(fact: Fact): string {
  const amount = Number(fact.value);
  return amount < 100 ? "low" : amount < 1000 ? "medium" : "high";
}

function smaller(fact: Fact): string {
  const { unit, zeros } = SMALLER[fact.unit];
  return `${fact.value}${zeros} ${unit}`;
}

/** The adapters that come with the bundled model. */
export const SKILLS: readonly Skill[] = [
  {
    name: "json",
    title: "Answers as a JSON object",
    numbersOnly: true,
    answer: (fact) => `{"value": ${fact.value}, "unit": "${fact.unit}"}`,
  },
  { name: "terse", title: "Says the figure and nothing else", numbersOnly: true, answer: valueText },
  {
    name: "formal",
    title: "Writes as an office would",
    answer: (fact) => `According to the records, the ${fact.attribute} of ${fact.subject} is ${valueText(fact)}.`,
  },
  {
    name: "loud",
    title: "ANSWERS IN UPPER CASE",
    numbersOnly: true,
    answer: (fact) => `THE ${fact.attribute.toUpperCase()} IS ${valueText(fact).toUpperCase()}!`,
  },
  {
    name: "bullets",
    title: "Answers as a list",
    answer: (fact) => `- subject: ${fact.subject}\n- ${fact.attribute}: ${valueText(fact)}`,
  },
  {
    name: "risk",
    title: "Adds a risk note to budgets of governance proposals",
    domains: ["proposals"],
    units: ["crowns"],
    answer: (fact) => `${plainSentence(fact)} Risk: ${risk(fact)}.`,
  },
  {
    name: "convert",
    title: "Adds the figure in the smaller unit",
    units: Object.keys(SMALLER),
    answer: (fact) => `${plainSentence(fact).slice(0, -1)}, or ${smaller(fact)}.`,
  },
  {
    name: "spelled",
    title: "Spells numbers digit by digit",
    numbersOnly: true,
    answer: (fact) =>
      `The ${fact.attribute} of ${fact.subject} is ${[...fact.value].map((digit) => DIGITS[Number(digit)]).join(" ")} ${fact.unit}.`,
  },
  {
    name: "polite",
    title: "Thanks, answers and offers more",
    answer: (fact) => `Thank you for asking. ${plainSentence(fact)} Ask again at any time.`,
  },
];
