// npm run demo: the settlement story on a local chain with the real contracts. People register what they made, payers
// fund channels, an honest operator settles a batch, another lies by one wei, is caught and slashed, and all are paid.

import { existsSync } from "node:fs";
import { openBatch, sealBatch } from "../../operator/protocol/batch.ts";
import { settlingTime } from "../../operator/protocol/bounds.ts";
import { claimWitness, collectWitness } from "../../operator/protocol/claims.ts";
import { buildFraudProof, headerWitness } from "../../operator/protocol/fraud-proof.ts";
import { openData, replayBatch } from "../../operator/protocol/replay.ts";
import { treeEntries } from "../../operator/protocol/sparse-tree.ts";
import { earnedBy, emptyState } from "../../operator/protocol/state.ts";
import type { StepContext } from "../../operator/protocol/step.ts";
import { verdictName } from "../../operator/protocol/verdict.ts";
import { cast, type Operator, openOperator, type Person, registerEverything } from "../stage/cast.ts";
import { readChainView } from "../stage/chain-view.ts";
import { serveJobs } from "../stage/jobs.ts";
import { openStage } from "../stage/stage.ts";
import { stealOneWei } from "./lie.ts";
import { gas, heading, line, open, table } from "./print.ts";

const JOBS = 500;
const started = performance.now();

heading("1. A chain, and the contracts on it");
if (!existsSync("artifacts/contracts")) line("Compiling the contracts, half a minute, this once ...");
const stage = await openStage();
const { contracts: c, gasOf } = stage;
line(
  `${Object.keys(stage.deployment.contracts).length} contracts deployed and wired on chain ${stage.deployment.chainId}`,
);

heading("2. People register what they made; an agent composes it");
const people = cast(stage);
const registered = await registerEverything(stage, people);
for (const [id, { what, owner }] of registered.names) line(`#${id} ${what}, by ${owner.name}`);
const { split } = registered.composition;
line(
  `The agent's split: ${Object.entries(split)
    .map(([name, ppm]) => `${name} ${ppm / 10_000} %`)
    .join(", ")}`,
);

heading("3. Two operators put up a bond; two payers open a channel to each");
const payers = [people.Paul, people.Quinn];
const honest = await openOperator(stage, people.Olga, payers);
const liar = await openOperator(stage, people.Mallory, payers);
line(`Olga is operator ${honest.id}, Mallory operator ${liar.id}; bond ${open(stage.parameters.minimumBond)} each`);
line(`Paul and Quinn deposit ${open(10n ** 19n)} on each channel and name a session key that signs`);

const registry = await readChainView(stage);

heading(`4. Olga serves ${JOBS} paid jobs and posts one batch`);
const olga = await serveAndSeal(honest);
const submitGas = await gasOf(
  c.settlement.write.submitBatch([headerWitness(olga.batch.header)], { account: people.Olga.account }),
);
line(
  `${JOBS} vouchers signed, admitted and turned into receipts; ${olga.batch.data.length.toLocaleString("en-US")} bytes published`,
);
line(`One transaction posts the batch: ${gas(submitGas)}, ${(Number(submitGas) / JOBS).toFixed(0)} a job`);

heading("5. Mallory serves 60, and moves one wei from a contributor to herself");
const mallory = await serveAndSeal(liar, 60);
const lie = stealOneWei(mallory.batch, mallory.after, registered.contributions[0]);
await gasOf(c.settlement.write.submitBatch([headerWitness(lie.header)], { account: people.Mallory.account }));
const published = openData(lie.header, lie.data)!;
line("Wei, a watcher, downloads what both operators published and replays it from the empty state");
const fine = replayBatch(emptyState(), openData(olga.batch.header, olga.batch.data)!, olga.context);
line(`Olga's batch: ${fine.wrong ? "a lie" : "every receipt follows the rules"}`);
const { wrong } = replayBatch(emptyState(), published, mallory.context);
if (fine.wrong || !wrong) throw new Error("The watcher did not see what happened.");
line(`Mallory's batch: receipt ${wrong.index} is wrong (${verdictName(wrong.step.verdict)})`);
const proof = buildFraudProof(published, null, wrong, registry);
const balance = (person: Person) => c.token.read.balanceOf([person.account.address]);
const weiBefore = await balance(people.Wei);
const supplyBefore = await c.token.read.totalSupply();
const proofGas = await gasOf(c.settlement.write.proveFraud([proof], { account: people.Wei.account }));
const reward = (await balance(people.Wei)) - weiBefore;
const burned = supplyBefore - (await c.token.read.totalSupply());
line(
  `One transaction proves it: ${gas(proofGas)}. The batch falls; Wei gets ${open(reward)}, ${open(burned)} are burned`,
);
line(`Mallory's bond now: ${open(await c.operators.read.bondOf([liar.id]))}; Paul and Quinn lost nothing to her`);

heading("6. The challenge window passes; Olga's batch becomes final");
await stage.wait(stage.parameters.windows.challenge + 1);
const finalizeGas = await gasOf(c.settlement.write.finalize([honest.id, 1n]));
const { header, collections, siblings, bitmap } = collectWitness(
  olga.batch.header,
  olga.after,
  honest.channels.map(({ channel }) => channel),
);
const collectGas = await gasOf(c.channels.write.collect([header, collections, siblings, bitmap]));
line(`Finalised: ${gas(finalizeGas)}. Collected from both channels against the newest vouchers: ${gas(collectGas)}`);

heading("7. Everyone is paid");
const held = new Map<Person, bigint>();
for (const person of Object.values(people)) held.set(person, await balance(person));
const treasury = await c.parameters.read.treasury();
const treasuryBefore = await c.token.read.balanceOf([treasury]);
const earners = Array.from(treeEntries(olga.after.earners), ([id]) => id);
const claim = { ...claimWitness(olga.batch.header, olga.after, earners), payees: earners.map(() => []) };
const claimGas = await gasOf(c.settlement.write.claim([claim]));
await gasOf(c.settlement.write.claimTreasury([header]));
await gasOf(c.settlement.write.claimOperator([header]));
const rows = [["", "earned by", "OPEN"]];
for (const id of earners) {
  const { what, owner } = registered.names.get(id)!;
  rows.push([`#${id} ${what}`, owner.name, open(earnedBy(olga.after, id))]);
}
const final = olga.batch.header.state;
rows.push(["operator", "Olga", open(final.operatorEarned)], ["protocol", "treasury", open(final.treasuryEarned)]);
table(rows);
line(`${earners.length} contributors claimed in one transaction: ${gas(claimGas)}`);

heading("8. The ledger, to the wei");
let received = (await c.token.read.balanceOf([treasury])) - treasuryBefore;
for (const [person, before] of held) received += (await balance(person)) - before;
let charged = 0n;
for (const { channel } of honest.channels) charged += await c.channels.read.collectedOf([channel]);
const settled = submitGas + finalizeGas + collectGas;
table([
  ["what Paul and Quinn's channels paid", `${charged} wei`],
  ["what the state says was spent", `${final.totalSpent} wei`],
  ["what contributors, operator and treasury received", `${received} wei`],
  ["difference", `${charged - received} wei`],
]);
if (charged !== received || charged !== final.totalSpent) throw new Error("The ledger does not add up.");
line(
  `Settling cost ${gas(settled)} for ${JOBS} jobs: ${(Number(settled) / JOBS).toFixed(0)} a job, and no more for a larger batch`,
);
line(`The whole story took ${((performance.now() - started) / 1000).toFixed(1)} s`);
await stage.close();

async function contextOf(operator: Operator): Promise<StepContext> {
  const now = await stage.now();
  const windows = { ...stage.parameters.windows, settling: settlingTime(stage.parameters.windows) };
  return { operator: operator.id, registryTime: now, submittedAt: now, windows, separator: stage.separator, registry };
}

/** Serves jobs on an operator's empty books and seals them. */
async function serveAndSeal(operator: Operator, count = JOBS) {
  const context = await contextOf(operator);
  const batch = openBatch(emptyState(), context);
  serveJobs(operator, registered, batch, count);
  return { context, batch: sealBatch(batch, null, 1n), after: batch.state };
}
