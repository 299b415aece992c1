// Kills everything of a node at random while people pay it for answers, and looks whether anything was lost or charged
// twice.   npm run test:chaos [-- --kills 200 --seed 1 --minutes 20 --json]
import { parseArgs } from "node:util";
import { ChaosWorld } from "./chaos-world.ts";
import { storm } from "./storm.ts";

const { values } = parseArgs({
  options: {
    kills: { type: "string", default: "200" },
    seed: { type: "string", default: "1" },
    minutes: { type: "string", default: "20" },
    json: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});
if (values.help) {
  console.log(`Kills gateway, workers, settler and Redis at random while customers pay for answers, fills the node's disk,
sets its clock wrong and takes blocks from the chain; then holds ledgers, journal, queue and chain against each other.
Exit code 1 when anything disagrees.

  --kills N     how many (200)
  --seed N      which moments and whom (1)
  --minutes M   how long at most (20)
  --json        one line of JSON at the end`);
  process.exit(0);
}
// Every Redis that is started listens for the end of this process.
process.setMaxListeners(0);
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(130));
const say = (line: string) => values.json || console.log(line);
const world = await ChaosWorld.open();
try {
  const report = await storm(world, {
    kills: Number(values.kills),
    seed: Number(values.seed),
    minutes: Number(values.minutes),
    say,
  });
  const { wrong, logs, ...figures } = report;
  const json = JSON.stringify({ ...figures, wrong }, (_, value) => (typeof value === "bigint" ? String(value) : value));
  if (values.json) console.log(json);
  else {
    console.log(JSON.parse(json));
    if (wrong.length > 0) console.log(logs.join("\n\n"));
    console.log(wrong.length === 0 ? "\nNothing was lost, and nothing was charged twice." : `\n${wrong.join("\n")}`);
  }
  process.exitCode = wrong.length === 0 ? 0 : 1;
} finally {
  await world.close();
}
