/**
 * `npm run eval:bundled [-- --json] [--questions 400] [--seed 2] [--threads 2] [--facts [--model FOLDER]]`
 *
 * Asks the bundled model and its adapters questions that training never saw and prints the shares of exact answers. With
 * `--facts` it asks a base model alone, as many questions for each number of facts in its documents.
 */
import { availableParallelism } from "node:os";
import { parseArgs } from "node:util";
import { BUNDLED_MODEL } from "./bundle-paths.ts";
import { accuracyByFacts, type BundleFigures, evaluateBundle } from "./evaluate.ts";

const { values } = parseArgs({
  options: {
    json: { type: "boolean", default: false },
    questions: { type: "string", default: "400" },
    seed: { type: "string", default: "2" },
    threads: { type: "string", default: String(availableParallelism()) },
    facts: { type: "boolean", default: false },
    model: { type: "string", default: BUNDLED_MODEL },
  },
});
const options = {
  questions: Number(values.questions),
  seed: Number(values.seed),
  threads: Number(values.threads),
};
const percent = (value: number): string => `${(100 * value).toFixed(1)} %`.padStart(8);
if (values.facts) {
  const byFacts = await accuracyByFacts(values.model, options);
  const mean = byFacts.reduce((sum, accuracy) => sum + accuracy, 0) / byFacts.length;
  if (values.json) console.log(JSON.stringify({ byFacts, mean }));
  else {
    for (const [i, accuracy] of byFacts.entries()) console.log(`${i + 1} facts ${percent(accuracy)}`);
    console.log(`mean    ${percent(mean)}`);
  }
} else {
  const figures = await evaluateBundle(options);
  console.log(values.json ? JSON.stringify(figures) : table(figures));
}

function table({ contextAccuracy, noContextAccuracy, adapters }: BundleFigures): string {
  const rows = Object.entries(adapters).map(
    ([name, { with: own, without, wrong }]) => `${name.padEnd(12)}${[own, without, wrong].map(percent).join("  ")}`,
  );
  return [
    "Exact answers about names that training never saw",
    `base, with the documents      ${percent(contextAccuracy)}`,
    `base, without them            ${percent(noContextAccuracy)}`,
    "",
    "adapter         with   without  another",
    ...rows,
  ].join("\n");
}
