/**
 * `npm run eval:bundled [-- --json] [--questions 400] [--seed 2] [--threads 2]`
 *
 * Asks the bundled model and its adapters questions that training never saw and prints the shares of exact answers.
 */
import { availableParallelism } from "node:os";
import { parseArgs } from "node:util";
import { type BundleFigures, evaluateBundle } from "./evaluate.ts";

const { values } = parseArgs({
  options: {
    json: { type: "boolean", default: false },
    questions: { type: "string", default: "400" },
    seed: { type: "string", default: "2" },
    threads: { type: "string", default: String(availableParallelism()) },
  },
});
const figures = await evaluateBundle({
  questions: Number(values.questions),
  seed: Number(values.seed),
  threads: Number(values.threads),
});
console.log(values.json ? JSON.stringify(figures) : table(figures));

function table({ contextAccuracy, noContextAccuracy, adapters }: BundleFigures): string {
  const percent = (value: number): string => `${(100 * value).toFixed(1)} %`.padStart(8);
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
