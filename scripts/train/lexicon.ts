/** The small world that the bundled model talks about: every text it learns from is made of these words. */

/** What can be said of a thing: a number with a unit, or one of a few words. */
export type Attribute = { readonly name: string } & ({ readonly unit: string } | { readonly words: readonly string[] });

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
      { name: "depth", unit: "metres" },
      { name: "width", unit: "metres" },
      { name: "keeper", words: KEEPERS },
      { name: "beacon", words: COLOURS },
    ],
  },
  {
    id: "orchards",
    noun: "orchard",
    attributes: [
      { name: "harvest", unit: "tonnes" },
      { name: "area", unit: "hectares" },
      { name: "crop", words: FRUITS },
      { name: "keeper", words: KEEPERS },
    ],
  },
  {
    id: "railways",
    noun: "railway",
    attributes: [
      { name: "length", unit: "kilometres" },
      { name: "fare", unit: "crowns" },
      { name: "opening", words: MONTHS },
      { name: "colour", words: COLOURS },
    ],
  },
  {
    id: "reservoirs",
    noun: "reservoir",
    attributes: [
      { name: "depth", unit: "metres" },
      { name: "inflow", unit: "litres" },
      { name: "area", unit: "hectares" },
      { name: "keeper", words: KEEPERS },
    ],
  },
  {
    id: "museum",
    noun: "statue",
    attributes: [
      { name: "age", unit: "years" },
      { name: "weight", unit: "kilograms" },
      { name: "material", words: MATERIALS },
      { name: "colour", words: COLOURS },
    ],
  },
  {
    id: "turbines",
    noun: "turbine",
    attributes: [
      { name: "power", unit: "kilowatts" },
      { name: "height", unit: "metres" },
      { name: "weight", unit: "tonnes" },
      { name: "opening", words: MONTHS },
    ],
  },
  {
    id: "comets",
    noun: "comet",
    attributes: [
      { name: "period", unit: "years" },
      { name: "speed", unit: "kilometres" },
      { name: "return", words: MONTHS },
      { name: "colour", words: COLOURS },
    ],
  },
  {
    id: "proposals",
    noun: "proposal",
    attributes: [
      { name: "budget", unit: "crowns" },
      { name: "quorum", unit: "percent" },
      { name: "deadline", words: MONTHS },
      { name: "author", words: KEEPERS },
    ],
  },
];

/** Names are one head and one tail, so that the model meets names it never saw, made of parts it knows. */
export const NAME_HEADS = (
  "Vel Kor Bar Tal Mir Dor Fen Gal Hol Jor Lun Nar Pel Ros Sil Tor Zan Cal Der Fal Gor Har Kel Lor Mar Nol Per Ral " +
  "Sar Ten Val Wil Bel Cor Dal Fir Gil Hel Kas Lam"
).split(" ");
export const NAME_TAILS = (
  "mor dan vik ton lin ra mos dur nex ba go zu lo vin mar nes pol tas wen zo fa du ki me ro sun tir vas bon cas din fel"
).split(" ");

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
