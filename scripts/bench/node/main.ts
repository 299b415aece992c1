// What a node adds to its engine: tokens a second and time to the first token through HTTP, payment, Redis and journal,
// beside the same jobs served by an engine of the same size in this process. They take turns in one run.
//   npm run bench:node [-- --quick --json]
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parseArgs, promisify } from "node:util";
import { xorshift32, zipf } from "../random.ts";
import { adapterFolder, modelFolder } from "../shapes.ts";
import { percentile, round3 } from "../timing.ts";
import { attributionCost } from "./attribution-cost.ts";
import { BenchNode, type EngineSize, type TimedAnswer } from "./bench-node.ts";
import { EngineAlone } from "./engine-alone.ts";

const PARTS = ["answers", "attribution", "jobs", "memory"] as const;
const { values } = parseArgs({
  options: {
    json: { type: "boolean", default: false },
    quick: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
    model: { type: "string", default: "15m" },
    only: { type: "string", default: PARTS.join() },
    jobs: { type: "string" },
  },
});
if (values.help) {
  console.log(`A node (HTTP, payment, Redis, journal) beside its engine alone, in one run.

  --quick          fewer rounds and jobs
  --model NAME     15m (random weights), or bundled
  --only PARTS     of ${PARTS.join(", ")}; with commas
  --jobs N         jobs for the memory's growth (20,000; 1,000 with --quick)
  --json           one line of JSON at the end

  ratio.throughput     tokens/s through the node over tokens/s of the same jobs served by the engine alone: the same
                       prompts are composed, the same answers generated and measured on both sides
  ratio.overGenerating the same over an engine that only generates: the node's measuring counts against it
  overheadMs           time to the first token through the node, less that of the engine alone; one job at a time
  attributionCost      time to measure what 4 sources did, over the time to generate the answer of 128 tokens; the
                       engine has all processors, as an operator's has unless told otherwise
  …WithAdapter         the same for an agent with an adapter, whose effect is measured as well
  …OneThread           the same with one thread
  jobsPerSecond        paid jobs of an engine that does nothing, and their ratio to BullMQ's own jobs of nothing
  memoryMb             MiB of the node's process after a warm-up of 300 jobs and each tenth of all: what is resident,
                       and what of it is in use once garbage was collected; start, middle and end are in use`);
  process.exit(0);
}
const { quick } = values;
const parts = new Set(values.only.split(","));
const say = (line: string) => values.json || console.log(line);
const bundled = (name: string) => fileURLToPath(new URL(`../../../operator/bundled/${name}`, import.meta.url));
const BUNDLED = bundled("model");
const BUNDLED_ADAPTER = bundled("adapters/bullets");
const model = values.model === "bundled" ? BUNDLED : modelFolder("15m");
if (!existsSync(model)) throw new Error(`There is no model in ${model}.`);

/** Jobs at once, as a node with some customers has them. */
const AT_ONCE = 8;
const ANSWER_TOKENS = 64;
const ROUNDS = quick ? 3 : 7;
const JOBS_A_ROUND = quick ? 16 : 48;
/** Portions of the jobs after which memory is looked at. */
const PORTIONS = 10;
const SINGLE_JOBS = quick ? 20 : 100;

const random = xorshift32(5);
const draw = zipf(5_000, 1.05, random);
const words = (count: number) => Array.from({ length: count }, () => `w${draw().toString(36)}`).join(" ");

type Ask = (question: string, tokens: number) => Promise<TimedAnswer>;

/** Tokens a second over all, with as many jobs at once as there are lanes. */
async function rate(ask: Ask, questions: readonly string[]): Promise<number> {
  const rest = questions.values();
  let tokens = 0;
  const started = performance.now();
  const lane = async () => {
    for (const question of rest) tokens += (await ask(question, ANSWER_TOKENS)).tokens;
  };
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
  return (tokens / (performance.now() - started)) * 1_000;
}

async function answers(node: BenchNode, engine: EngineAlone) {
  const variants = {
    node: ((question, tokens) => node.ask(question, tokens)) as Ask,
    served: ((question, tokens) => engine.serve(question, tokens)) as Ask,
    generated: ((question, tokens) => engine.generate(question, tokens)) as Ask,
  };
  const names = Object.keys(variants) as (keyof typeof variants)[];
  for (const name of names)
    await rate(
      variants[name],
      Array.from({ length: AT_ONCE }, () => words(60)),
    );
  const rates = Object.fromEntries(names.map((name) => [name, [] as number[]])) as Record<
    keyof typeof variants,
    number[]
  >;
  for (let round = 0; round < ROUNDS; round++) {
    const questions = Array.from({ length: JOBS_A_ROUND }, () => words(60));
    for (const name of rotated(names, round)) rates[name].push(await rate(variants[name], questions));
    const [through, alone, plain] = names.map((name) => Math.round(rates[name][round]));
    say(`round ${round + 1}: ${through} tokens/s through the node, ${alone} served alone, ${plain} only generated`);
  }
  const over = (name: "served" | "generated") => median(rates.node.map((through, i) => through / rates[name][i]));
  const overhead: number[] = [];
  const first: Record<"node" | "alone", number[]> = { node: [], alone: [] };
  for (let i = 0; i < SINGLE_JOBS; i++) {
    const question = words(60);
    const sides = i % 2 === 0 ? (["node", "alone"] as const) : (["alone", "node"] as const);
    const took = { node: 0, alone: 0 };
    for (const side of sides) {
      took[side] = (await (side === "node" ? variants.node : variants.served)(question, 8)).firstMs;
      first[side].push(took[side]);
    }
    overhead.push(took.node - took.alone);
  }
  return {
    tokensPerSecond: {
      node: round3(median(rates.node)),
      served: round3(median(rates.served)),
      generated: round3(median(rates.generated)),
    },
    ratio: { throughput: round3(over("served")), overGenerating: round3(over("generated")) },
    firstTokenMs: { node: round3(median(first.node)), alone: round3(median(first.alone)) },
    overheadMs: { p50: round3(median(overhead)), p99: round3(percentile(overhead, 0.99)) },
  };
}

async function attribution() {
  const { all, oneThread } = await attributionCost({
    model,
    adapter: values.model === "bundled" ? BUNDLED_ADAPTER : adapterFolder("15m", 0, { rank: 4 }),
    rounds: ROUNDS,
    passages: () => Array.from({ length: 4 }, () => words(values.model === "bundled" ? 20 : 40)),
  });
  return {
    attributionCost: all.plain,
    attributionCostWithAdapter: all.adapted,
    attributionCostOneThread: { plain: oneThread.plain, withAdapter: oneThread.adapted },
  };
}

/** Of the benchmark of the queue, which plays both in one run. */
async function jobs() {
  const main = fileURLToPath(new URL("../queue/main.ts", import.meta.url));
  const args = ["--disable-warning=ExperimentalWarning", main, "--json", "--jobs", quick ? "600" : "3000"];
  const { stdout } = await promisify(execFile)(process.execPath, args, { maxBuffer: 2 ** 24 });
  const { jobsPerSecond, bullmqJobsPerSecond, ratio } = JSON.parse(stdout.trim().split("\n").at(-1)!);
  return { jobsPerSecond: { paid: jobsPerSecond, bullmq: bullmqJobsPerSecond, ratio } };
}

async function memory() {
  const size: EngineSize = { model: modelFolder("tiny"), threads: 1, memoryMiB: 512, maxBatch: 16 };
  const node = await BenchNode.start(size);
  try {
    const count = Number(values.jobs ?? (quick ? 1_000 : 20_000));
    const some = async (number: number) => {
      const rest = Array.from({ length: number }, () => words(8)).values();
      const lane = async () => {
        for (const question of rest) await node.ask(question, 1);
      };
      await Promise.all(Array.from({ length: 32 }, lane));
      // What is free may be given back to the system a little later.
      await new Promise((done) => setTimeout(done, 2_000));
      return node.residentMiB();
    };
    const resident = [await some(300)];
    const inUse = [await node.inUseMiB()];
    say(`memory after 300 jobs: ${resident[0]} MiB, ${inUse[0]} of them in use`);
    for (let i = 1; i <= PORTIONS; i++) {
      resident.push(await some(count / PORTIONS));
      inUse.push(await node.inUseMiB());
      say(`after ${300 + (i * count) / PORTIONS}: ${resident[i]} MiB, ${inUse[i]} in use`);
    }
    const [start, middle, end] = [inUse[0], inUse[PORTIONS / 2], inUse[PORTIONS]];
    const growth = round3(((end - middle) * 1_024) / (count / 2));
    return { memoryMb: { jobs: count, resident, inUse, start, middle, end, kibPerJobInSecondHalf: growth } };
  } finally {
    await node.close();
  }
}

function rotated<T>(list: readonly T[], by: number): T[] {
  return list.map((_, i) => list[(i + by) % list.length]);
}

function median(numbers: readonly number[]): number {
  return percentile(numbers, 0.5);
}

const figures: Record<string, unknown> = { model: values.model };
if (parts.has("answers")) {
  const size: EngineSize = { model, threads: 1, memoryMiB: 1_024, maxBatch: AT_ONCE };
  const node = await BenchNode.start(size);
  const { mirror, folder, agent } = node;
  const engine = await EngineAlone.start(size, { mirror, folder, agent: agent.id });
  try {
    Object.assign(figures, await answers(node, engine));
  } finally {
    await engine.close();
    await node.close();
  }
}
if (parts.has("attribution")) Object.assign(figures, await attribution());
if (parts.has("jobs")) Object.assign(figures, await jobs());
if (parts.has("memory")) Object.assign(figures, await memory());
if (values.json) console.log(JSON.stringify(figures));
else table();

function table(): void {
  const at = (path: string) => path.split(".").reduce<unknown>((value, key) => (value as never)?.[key], figures);
  const rows: [name: string, wanted: string][] = [
    ["ratio.throughput", "≥ 0.85"],
    ["ratio.overGenerating", ""],
    ["overheadMs.p50", "≤ 15"],
    ["overheadMs.p99", ""],
    ["attributionCost", "≤ 0.5"],
    ["attributionCostWithAdapter", ""],
    ["attributionCostOneThread.plain", ""],
    ["attributionCostOneThread.withAdapter", ""],
    ["jobsPerSecond.paid", ""],
    ["jobsPerSecond.ratio", "≥ 0.15"],
    ["memoryMb.start", ""],
    ["memoryMb.middle", ""],
    ["memoryMb.end", ""],
    ["memoryMb.kibPerJobInSecondHalf", "about 0"],
  ];
  console.log("");
  for (const [name, wanted] of rows) {
    const value = at(name);
    if (value !== undefined) console.log(`${name.padEnd(38)} ${String(value).padStart(8)}   ${wanted}`);
  }
}
