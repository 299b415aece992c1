// npm run bench:settlement [-- --json]: what settling costs in gas, beside what one would do without it, and how many
// receipts a second the protocol appends and replays.
import { parseArgs } from "node:util";
import { openStage } from "../../stage/stage.ts";
import { CHANNELS, register } from "./cast.ts";
import { baselineGas, type CycleGas, cycleGas, fraudGas, warmRingGas } from "./gas.ts";
import { throughput } from "./throughput.ts";

const { values } = parseArgs({ options: { json: { type: "boolean", default: false } } });
const SIZES = [10, 100, 1_000, 10_000];
const say = (line: string) => values.json || console.log(line);
const number = (value: number) => Math.round(value).toLocaleString("en-US").padStart(11);

const stage = await openStage({ harness: true });
const cast = await register(stage);
const { append, replay } = await throughput(stage, cast, 10_000);

say("Gas of one batch: six payees a job, 20 channels; the operator's second batch, its ring slots new");
say(`       jobs     submit   finalize   together    collect  whole cycle a job`);
const cycles = new Map<number, CycleGas>();
for (const jobs of SIZES) {
  const gas = await cycleGas(stage, cast, jobs);
  cycles.set(jobs, gas);
  const total = gas.submit + gas.finalize;
  const perJob = (total + gas.collect) / jobs;
  say(`${[jobs, gas.submit, gas.finalize, total, gas.collect].map(number).join("")}${perJob.toFixed(1).padStart(19)}`);
}
const warm = await warmRingGas(stage, cast);
say(`After 64 batches (ring slots written before): ${number(warm.submit)} + ${number(warm.finalize)}`);

const largest = cycles.get(10_000)!;
const collectGasPerChannel = largest.collect / CHANNELS;
say(`\nCollect, a channel:            ${number(collectGasPerChannel)}`);
say(`Claim, one earner alone:       ${number(largest.claimOne)}`);
say(`Claim, an earner of 50:        ${number(largest.claim50)}`);
const p8 = await fraudGas(stage, cast, 8);
const p16 = await fraudGas(stage, cast, 16);
say(`Fraud proof, 8 payees:         ${number(p8)}`);
say(`Fraud proof, 16 payees:        ${number(p16)}`);
const baseline = await baselineGas(stage);
const cycle = (jobs: number) => {
  const gas = cycles.get(jobs)!;
  return (gas.submit + gas.finalize + gas.collect) / jobs;
};
say(
  `\nInstead: pushing to 6 payees:  ${number(baseline.push)} a job, ${(baseline.push / cycle(10_000)).toFixed(0)} times the cycle at 10,000 jobs`,
);
say(`Instead: a Merkle claim:       ${number(baseline.merkleClaim)} a payout (1,024 payees)`);
say(`\nAppend: ${append.toFixed(0)} receipts/s, replay: ${replay.toFixed(0)} receipts/s, one thread, six payees each`);

if (values.json) {
  const jobs = Object.fromEntries(
    SIZES.map((size) => {
      const gas = cycles.get(size)!;
      return [size, { submitAndFinalizeGas: gas.submit + gas.finalize, gasPerJob: cycle(size) }];
    }),
  );
  const report = {
    jobs,
    warmRing: warm,
    collectGasPerChannel,
    claimGas: { one: largest.claimOne, perEarnerOf50: largest.claim50 },
    fraudProofGas: { p8, p16 },
    baseline: { pushGasPerJob: baseline.push, merkleClaimGas: baseline.merkleClaim },
    appendReceiptsPerSecond: append,
    replayReceiptsPerSecond: replay,
  };
  console.log(JSON.stringify(report));
}
await stage.close();
