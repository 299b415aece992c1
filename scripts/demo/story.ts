import { join } from "node:path";
import type { Attribution } from "../../operator/api/attribution.ts";
import { gasByFunction, type ProvenLie, provenLieOf, standingOf } from "./chain-facts.ts";
import { checkJob, type JobCheck, readSources } from "./check-job.ts";
import { addUp, differences, type Ledger, readHoldings, sum } from "./ledger.ts";
import { askAll, drawQuestions, type Served } from "./load.ts";
import { postLie } from "./mallory.ts";
import { ask } from "./payers.ts";
import { gas, heading, line, open, piece, seconds, table } from "./print.ts";
import { waitFor } from "./wait-for.ts";
import { SEED, type World } from "./world.ts";

/** Answers that are streamed to the screen before the load. */
const SHOWN = 3;
const MALLORYS_JOBS = 12;
const IN_FLIGHT = 24;

/** What came of the questions. */
export interface Answers {
  served: Served[];
  exact: number;
  tokens: number;
  tokensPerSecond: number;
  /** Median, in milliseconds. */
  firstToken: number;
}

/** Chapter 4: paid questions over HTTP, by the official OpenAI client. */
export async function askQuestions(world: World, jobs: number): Promise<Answers> {
  heading(`4. ${jobs} paid questions by the official OpenAI client, the agents in turns`);
  const { registry, readings, payers } = world;
  const questions = drawQuestions(registry.agents, readings, jobs, SEED);
  // The last agents are the ones with the most parts.
  const shown = questions.slice(0, registry.agents.length).slice(-SHOWN);
  const served: Served[] = [];
  for (const asked of shown) {
    line(`${payers[0].person.name} asks ${asked.agent.name}: ${asked.question}`);
    piece("    ");
    const got = await ask(payers[0], asked.agent.name, asked.question, (text) =>
      piece(text.replaceAll("\n", "\n    ")),
    );
    piece(`\n    ${open(BigInt(got.attribution.price))}, first token after ${seconds(got.firstToken)}\n`);
    served.push({ ...asked, got });
  }
  const rest = questions.filter((asked) => !shown.includes(asked));
  line(`The other ${rest.length} at once, ${Math.min(IN_FLIGHT, rest.length)} in flight`);
  const { served: others, milliseconds } = await askAll(payers, rest, IN_FLIGHT);
  const tokens = sum(others.map(({ got }) => BigInt(got.attribution.completion_tokens)));
  served.push(...others);
  const exact = served.filter(({ got, answer }) => got.text.trim() === answer).length;
  const times = others.map(({ got }) => got.firstToken).sort((a, b) => a - b);
  const answers: Answers = {
    served,
    exact,
    tokens: Number(sum(served.map(({ got }) => BigInt(got.attribution.completion_tokens)))),
    tokensPerSecond: Number(tokens) / (milliseconds / 1_000),
    firstToken: times[Math.floor(times.length / 2)] ?? served[0].got.firstToken,
  };
  line(`${served.length} answers, ${exact} of them to the letter what the documents or the tool say`);
  line(
    `${tokens} tokens in ${seconds(milliseconds)}: ${answers.tokensPerSecond.toFixed(1)} tokens/s with attribution of every answer; median first token ${seconds(answers.firstToken)}`,
  );
  return answers;
}

/** Chapter 5: one answer, who moved it, and the same measured again by somebody else. */
export async function lookInto(world: World, { served }: Answers): Promise<JobCheck> {
  const { olga, payers, rpc, addresses, bundle, published, folder } = world;
  const parts = ({ got: { attribution: a } }: Served) =>
    a.context.length + a.tools.length + a.training.length + a.adapters.length + (a.prompt ? 1 : 0);
  const right = served.filter(({ got, answer }) => got.text.trim() === answer);
  const one = (right.length > 0 ? right : served).reduce((best, other) => (parts(other) > parts(best) ? other : best));
  const { jobId, attribution, text } = one.got;
  heading("5. One answer: who moved it, and whether that is so");
  line(`${one.agent.name}: ${one.question}`);
  line(text.replaceAll("\n", " / "));
  const salt = payers.map(({ salts }) => salts.get(jobId)).find((known) => known !== undefined)!;
  const texts = await readSources(olga.url, jobId, salt);
  await showSources(world, attribution, texts);
  line(`Its price, ${open(BigInt(attribution.price))}, goes to:`);
  for (const earner of earners(attribution, world)) line(`  ${earner}`);
  const { position, batch } = attribution.receipt;
  line(`Receipt ${position} of Olga's books, in batch ${batch}; job ${jobId}`);
  line("$ openledger verify job: registry, prices and shares held against the trace, the model run again");
  const check = await checkJob({
    ...{ jobId, salt, operatorUrl: olga.url, rpc, addresses, model: bundle.model, published },
    home: join(folder, "verifier"),
  });
  line(
    `  ${check.valid ? "It is so" : `It is not so: ${check.problems?.join(" ")}`}. Done again: ${check.checked.join(", ")}`,
  );
  if (check.unchecked) line(`  Not done: ${check.unchecked.join(" ")}`);
  return check;
}

async function showSources({ registry }: World, { context, tools }: Attribution, texts: Map<number, string>) {
  for (const { id, ppm } of [...context, ...tools]) {
    const entry = registry.entries.find((one) => one.id === id);
    const said = (texts.get(id) ?? "").replace(/\s+/g, " ").trim();
    line(
      `  ${(ppm / 10_000).toFixed(1).padStart(5)} %  ${entry?.what} ${entry?.owner.name} (${id}): ${said.slice(0, 110)}`,
    );
  }
}

function earners({ publisher, adapters, prompt, context, training, tools, ...rest }: Attribution, { registry }: World) {
  const credited = [publisher, ...adapters, prompt, ...context, ...training, ...tools].filter((part) => part !== null);
  const amounts = new Map<number, bigint>();
  for (const { id, amount } of credited) amounts.set(id, (amounts.get(id) ?? 0n) + BigInt(amount));
  const lines = [...amounts].map(([id, amount]) => {
    const entry = registry.entries.find((one) => one.id === id);
    return `${open(amount)}  ${entry?.what} ${entry?.owner.name} (${id})`;
  });
  return [...lines, `${open(BigInt(rest.operator))}  operator Olga`, `${open(BigInt(rest.treasury))}  treasury`];
}

/** Chapter 6: the batch is posted; a liar's is found and proven by the node's watcher. */
export async function settleAndWatch(world: World): Promise<{ lie: ProvenLie; posted: number }> {
  heading("6. Olga's batch is posted. Mallory posts one with a lie");
  const { stage, people, folder, mallory, registry, olga, payers } = world;
  const spent = sum(payers.map(({ ledger }) => ledger.balance().charged));
  const posted = await waitFor(
    "Olga's receipts are on the chain",
    async () => {
      const response = await fetch(`${olga.url}/v1/batches`);
      const { data } = (await response.json()) as { data: { height: number; total_spent: string }[] };
      return data[0] && BigInt(data[0].total_spent) === spent ? data[0].height : undefined;
    },
    300,
  );
  line(`${posted} ${posted === 1 ? "transaction holds" : "transactions hold"} all receipts, whatever their number`);
  const agent = registry.agents[0];
  const { origin, folder: published } = mallory;
  const { operator, receipts } = await postLie({
    stage,
    people,
    folder,
    published,
    origin,
    agent,
    count: MALLORYS_JOBS,
  });
  line(
    `Mallory is operator ${operator}. She ran no model, and one wei of a contributor is hers in one of ${receipts} receipts`,
  );
  const lie = await waitFor("the watcher has proven Mallory's lie", () => provenLieOf(stage, operator), 90);
  line(`The watcher of Olga's node replayed it: receipt ${lie.receipt} is wrong (${lie.verdict})`);
  line(
    `One transaction proves it: ${gas(lie.gas)}. The batch falls; ${open(lie.reward)} to the prover, ${open(lie.burned)} burned`,
  );
  const bond = await stage.contracts.operators.read.bondOf([operator]);
  line(`Mallory's bond now: ${open(bond)}; Quinn lost nothing to her`);
  if (bond !== 0n || lie.prover.toLowerCase() !== olga.person.account.address.toLowerCase()) {
    throw new Error("The lie was not proven by the node, or the bond was not slashed.");
  }
  return { lie, posted };
}

export interface Settled {
  ledger: Ledger;
  differences: ReturnType<typeof differences>;
  gas: Map<string, bigint>;
}

/** Chapter 7: time passes, everybody is paid, and the sums are compared to the wei. */
export async function payEverybody(world: World, { served }: Answers, posted: number): Promise<Settled> {
  heading("7. The challenge window passes; everybody is paid");
  const { stage, people, olga, payers, registry } = world;
  const before = await readHoldings(stage, people);
  const { challenge } = stage.parameters.windows;
  await stage.wait(challenge + 1);
  line(`The chain's clock is put forward by ${challenge} s; Olga's node does the rest by itself`);
  await waitFor("the batch is final", async () =>
    (await standingOf(stage, olga.id)).final >= posted ? true : undefined,
  );
  const attributions = served.map(({ got }) => got.attribution);
  const sums = { stage, people, operator: olga, payers, entries: registry.entries, before };
  const ledger = await waitFor("channels are collected and everybody is paid", async () => {
    const now = await addUp(sums, attributions);
    return now.operator > 0n && now.treasury > 0n && now.received === now.collected ? now : undefined;
  });
  showEarnings(ledger);
  const spentGas = await gasByFunction(stage, olga.person.account.address, 0n);
  spentGas.delete("proveFraud");
  const differ = differences(ledger);
  line();
  table([
    ["what the receipts say that came with the answers", `${ledger.receipts} wei`],
    ["what Paul's and Quinn's own ledgers say", `${ledger.payers} wei`],
    ["what was collected from their channels", `${ledger.collected} wei`],
    ["what contributors, operator and treasury received", `${ledger.received} wei`],
    ["differences", `${Object.values(differ).map(String).join(", ")} wei`],
  ]);
  const all = sum([...spentGas.values()]);
  const rest = all - (spentGas.get("submitBatch") ?? 0n) - (spentGas.get("finalize") ?? 0n);
  const { length: jobs } = served;
  line();
  line(`Posting and finalising: ${gas(all - rest)}, for this many jobs as for any other`);
  line(
    `Collecting from ${payers.length} channels and paying ${ledger.earned.length} entries, operator, treasury: ${gas(rest)}`,
  );
  line(`${gas(all / BigInt(jobs))} a job, and the more jobs, the less`);
  return { ledger, differences: differ, gas: spentGas };
}

function showEarnings({ earned, operator, treasury }: Ledger): void {
  const people = new Map<string, { amount: bigint; whats: string[] }>();
  for (const { entry, amount } of earned) {
    const known = people.get(entry.owner.name) ?? { amount: 0n, whats: [] };
    people.set(entry.owner.name, { amount: known.amount + amount, whats: [...known.whats, entry.what] });
  }
  const rows = [...people].sort(([, a], [, b]) => Number(b.amount - a.amount));
  table([
    ["", "entries", "paid"],
    ...rows.map(([name, { amount, whats }]) => [`${name} (${kinds(whats)})`, `${whats.length}`, open(amount)]),
    ["Olga (operator)", "", open(operator)],
    ["the treasury (protocol)", "", open(treasury)],
  ]);
}

/** What somebody owns, each kind once. */
function kinds(whats: readonly string[]): string {
  const kindOf = (what: string) => (what.includes("documents of") ? "documents" : what.split(" ")[0]);
  return [...new Set(whats.map(kindOf))].join(", ");
}
