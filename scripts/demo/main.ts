// npm run demo: the main job, end to end, on a local chain with the real contracts. People register what they made, an
// operator serves paid questions with the bundled model, measures who helped and settles; a liar is caught; all are paid.
//
//   npm run demo -- [--jobs 48] [--keep] [--json]
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { plainMessage } from "../../operator/chain/plain-message.ts";
import { howToTalk } from "./keep.ts";
import { heading, line, seconds, tellOnStandardError } from "./print.ts";
import { type Answers, askQuestions, lookInto, payEverybody, type Settled, settleAndWatch } from "./story.ts";
import { openWorld, type World } from "./world.ts";

const HELP = `npm run demo -- [options]

  --jobs N   paid questions (default 48)
  --keep     leave everything running at the end, and say how to talk to it; Ctrl-C ends it
  --json     print one JSON object with the figures; the story goes to standard error
  --help     this`;

const { values } = parseArgs({
  options: {
    jobs: { type: "string", default: "48" },
    keep: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});
if (values.help) {
  console.log(HELP);
  process.exit(0);
}
const jobs = Number(values.jobs);
if (!Number.isInteger(jobs) || jobs < 4) {
  console.error("--jobs must be a whole number, at least 4.");
  process.exit(2);
}
if (values.json) tellOnStandardError();

const folder = mkdtempSync(join(tmpdir(), "openledger-demo-"));
const closers: (() => unknown)[] = [() => rmSync(folder, { recursive: true, force: true })];
const interrupted = Promise.withResolvers<number>();
let signals = 0;
let isTold = false;
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.on(signal, () => {
    if (signals++ > 0) process.exit(130);
    interrupted.resolve(isTold ? 0 : 130);
  });
}
process.exit(await run());

/** @returns The exit code. */
async function run(): Promise<number> {
  let world: World | undefined;
  try {
    return await Promise.race([interrupted.promise, tell((opened) => (world = opened))]);
  } catch (error) {
    console.error(`\nThe demo failed: ${plainMessage(error)}`);
    if (process.env.DEBUG) console.error(error);
    if (world) console.error(`The end of the node's log:\n${world.olga.log()}`);
    return 1;
  } finally {
    await closeAll();
  }
}

async function tell(opened: (world: World) => void): Promise<number> {
  const started = performance.now();
  const world = await openWorld({ folder, jobs, atClose: (close) => closers.push(close) });
  opened(world);
  const answers = await askQuestions(world, jobs);
  const check = await lookInto(world, answers);
  const { lie, posted } = await settleAndWatch(world);
  const settled = await payEverybody(world, answers, posted);
  const milliseconds = performance.now() - started;
  const isExact = Object.values(settled.differences).every((difference) => difference === 0n);
  heading(`All of it in ${seconds(milliseconds)}${isExact ? ", and to the wei" : ", but the ledger does not add up"}`);
  const result = figures(answers, settled, milliseconds);
  if (values.json) {
    const fraud = { ...lie, bondLeft: 0n };
    const all = { ...result, verified: check.valid, checked: check.checked, fraud };
    console.log(JSON.stringify(all, (_, value) => (typeof value === "bigint" ? String(value) : value)));
  }
  if (!isExact || !check.valid) return 1;
  if (values.keep) {
    isTold = true;
    await howToTalk(world);
    await interrupted.promise;
    line("Ending ...");
  }
  return 0;
}

function figures({ served, exact, tokens, tokensPerSecond, firstToken }: Answers, settled: Settled, time: number) {
  const gas = Object.fromEntries(settled.gas);
  const { receipts, payers, collected, received, operator, treasury, earned } = settled.ledger;
  return {
    jobs: served.length,
    exactAnswers: exact,
    completionTokens: tokens,
    tokensPerSecond: Math.round(tokensPerSecond * 10) / 10,
    timeToFirstTokenMs: Math.round(firstToken),
    gas,
    gasPerJob: Math.round(Number([...settled.gas.values()].reduce((sum, one) => sum + one, 0n)) / served.length),
    wei: { receipts, payers, collected, received, operator, treasury },
    contributorsPaid: earned.length,
    differences: settled.differences,
    seconds: Math.round(time / 100) / 10,
  };
}

/** The last opened is closed first; one that fails keeps none of the others open. */
async function closeAll(): Promise<void> {
  for (const close of closers.reverse()) {
    try {
      await close();
    } catch (error) {
      console.error(`Closing: ${plainMessage(error)}`);
    }
  }
}
