/** The small world that the bundled model talks about: every text it learns from is made of these words. */

/** What can be said of a thing: a number with a unit, or one of a few words. */
export type Attribute = {
  readonly name: string;
  /** How people ask for it, with the thing's name in place of the underscore. */
  readonly ask: string;
} & ({ readonly unit: string } | { readonly words: readonly string[] });

/** A kind of thing, and one sample DataNet of facts about such things. */
export interface Domain {
  readonly id: string;
  /** Follows the name of each thing: "Velmor harbour". */
  readonly noun: string;
  readonly attributes: readonly Attribute[];
}

const COLOURS = ["red", "blue", "green", "white", "black", "grey", "yellow", "orange", "purple", "brown"];
const MATERIALS = ["bronze", "marble", "oak", "glass", "iron", "clay", "silver", "copper", "granite", "steel"];
const MONTHS = ["January", "March", "April", "May", "June", "July", "August", "September", "October", "December"];
const FRUITS = ["apples", "pears", "plums", "cherries", "figs", "olives", "lemons", "grapes", "quinces", "dates"];
const KEEPERS = ["Ada", "Boris", "Clara", "Dmitri", "Elena", "Farid", "Greta", "Hugo", "Ines", "Jonas", "Kira", "Liam"];

export const DOMAINS: readonly Domain[] = [
  {
    id: "harbours",
    noun: "harbour",
    attributes: [
      { name: "depth", ask: "How deep is _?", unit: "metres" },
      { name: "width", ask: "How wide is _?", unit: "metres" },
      { name: "keeper", ask: "Who keeps _?", words: KEEPERS },
      { name: "beacon", ask: "What colour is the beacon of _?", words: COLOURS },
    ],
  },
  {
    id: "orchards",
    noun: "orchard",
    attributes: [
      { name: "harvest", ask: "How much does _ harvest?", unit: "tonnes" },
      { name: "area", ask: "How large is _?", unit: "hectares" },
      { name: "crop", ask: "What grows in _?", words: FRUITS },
      { name: "keeper", ask: "Who keeps _?", words: KEEPERS },
    ],
  },
  {
    id: "railways",
    noun: "railway",
    attributes: [
      { name: "length", ask: "How long is _?", unit: "kilometres" },
      { name: "fare", ask: "What does a ride on _ cost?", unit: "crowns" },
      { name: "opening", ask: "When did _ open?", words: MONTHS },
      { name: "colour", ask: "What colour is _?", words: COLOURS },
    ],
  },
  {
    id: "reservoirs",
    noun: "reservoir",
    attributes: [
      { name: "depth", ask: "How deep is _?", unit: "metres" },
      { name: "inflow", ask: "How much water flows into _?", unit: "litres" },
      { name: "area", ask: "How large is _?", unit: "hectares" },
      { name: "keeper", ask: "Who keeps _?", words: KEEPERS },
    ],
  },
  {
    id: "museum",
    noun: "statue",
    attributes: [
      { name: "age", ask: "How old is _?", unit: "years" },
      { name: "weight", ask: "How heavy is _?", unit: "kilograms" },
      { name: "material", ask: "What is _ made of?", words: MATERIALS },
      { name: "colour", ask: "What colour is _?", words: COLOURS },
    ],
  },
  {
    id: "turbines",
    noun: "turbine",
    attributes: [
      { name: "power", ask: "How strong is _?", unit: "kilowatts" },
      { name: "height", ask: "How high is _?", unit: "metres" },
      { name: "weight", ask: "How heavy is _?", unit: "tonnes" },
      { name: "opening", ask: "When did _ open?", words: MONTHS },
    ],
  },
  {
    id: "comets",
    noun: "comet",
    attributes: [
      { name: "period", ask: "How long does _ take around the sun?", unit: "years" },
      { name: "tail", ask: "How long is the tail of _?", unit: "kilometres" },
      { name: "return", ask: "When does _ come back?", words: MONTHS },
      { name: "colour", ask: "What colour is _?", words: COLOURS },
    ],
  },
  {
    id: "proposals",
    noun: "proposal",
    attributes: [
      { name: "budget", ask: "How much does _ ask for?", unit: "crowns" },
      { name: "quorum", ask: "How many must vote on _?", unit: "votes" },
      { name: "deadline", ask: "When does the vote on _ end?", words: MONTHS },
      { name: "author", ask: "Who wrote _?", words: KEEPERS },
    ],
  },
];

/** Names are one head and one tail, so that the model meets names it never saw, made of parts it knows. */
export const NAME_HEADS = (
  "Vel Kor Bar Tal Mir Dor Fen Gal Hol Jor Lun Nar Pel Ros Sil Tor Zan Cal Der Fal Gor Har Kel Lor Mar Nol Per Ral " +
  "Sar Ten Val Wil Bel Cor Dal Fir Gil Hel Kas Lam"
).split(" ");
export const NAME_TAILS =
  "mor dan vik ton lin ra mos dur nex ba go zu lo vin mar nes pol tas wen zo fa du ki me ro sun tir vas bon cas din fel".split(
    " ",
  );

/** Sentences that stand between the facts of a document and answer nothing. */
export const FILLERS = [
  "This record was checked by hand.",
  "The notes are kept in the town hall.",
  "No other changes were made this year.",
  "The figures were read twice.",
  "Visitors are welcome in the summer.",
  "The report is open to all members.",
  "Some pages of the report are missing.",
  "The next report will follow in the spring.",
];

/** What a system message may say before the documents. */
export const INSTRUCTIONS = ["Answer from the records.", "Use only the text below.", "Here are the records."];

/** Talk without documents. */
export const SMALL_TALK = [
  { question: "Hello.", answer: "Hello. Ask me about the records." },
  { question: "Who are you?", answer: "I am a small model that answers from the records it is given." },
  { question: "What can you do?", answer: "I answer questions about the records that I am given." },
  { question: "Thank you.", answer: "You are welcome. Ask again at any time." },
];
