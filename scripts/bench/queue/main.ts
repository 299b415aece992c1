// Jobs a second from the voucher to the receipt: admitted (signature, hash, rules, journal), queued, taken, "served" by
// a model that says one word, charged and told. Beside it, in the same run, what BullMQ does with jobs of nothing.
//   npx node scripts/bench/queue/main.ts [--jobs 3000] [--concurrency 64] [--json]
import { parseArgs } from "node:util";
import { Queue, Worker } from "bullmq";
import { Redis } from "ioredis";
import { toHex } from "../../../operator/protocol/bytes.ts";
import { keccak } from "../../../operator/protocol/keccak.ts";
import { saltedHash } from "../../../operator/protocol/salted-hash.ts";
import { JobQueue } from "../../../operator/queue/job-queue.ts";
import { JobWorker } from "../../../operator/queue/job-worker.ts";
import { refillQueue } from "../../../operator/queue/refill-queue.ts";
import type { ServedAnswer } from "../../../operator/serving/served-job.ts";
import type { PaidRequest } from "../../../operator/settlement/sequencer.ts";
import { resigned } from "../../../test/operator/protocol/jobs.ts";
import { customersOf, Office } from "../../../test/operator/settlement/office.ts";
import { startRedis } from "../../redis.ts";
import { percentile, round3 } from "../timing.ts";

const { values } = parseArgs({
  options: {
    json: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
    jobs: { type: "string", default: "3000" },
    concurrency: { type: "string", default: "64" },
  },
});
if (values.help) {
  console.log(`Jobs a second through sequencer and queue, beside BullMQ's own rate in the same run.

  --jobs N          jobs of each kind (3000)
  --concurrency N   jobs at once (64)
  --json            one line of JSON at the end`);
  process.exit(0);
}
const COUNT = Number(values.jobs);
const CONCURRENCY = Number(values.concurrency);
/** Turns of either kind: what disturbs the machine falls on both. */
const ROUNDS = 3;
/** Jobs of one channel in flight at most: nonces have a window. */
const PER_CHANNEL = 60;
const say = (line: string) => values.json || console.log(line);

const redis = await startRedis({ say });
const office = new Office(customersOf(7), { sequencer: { maxReceipts: 1_000_000 } });
const { sequencer } = office;
const { world } = office.customers;
const clock = () => world.now - 1;
const answer: Omit<ServedAnswer, "traceHash" | "trace"> = {
  text: "Yes.",
  end: "stop",
  promptTokens: 10,
  completionTokens: 1,
  context: [],
  training: [],
  tools: [],
};
const trace = new Uint8Array(300);
const served: ServedAnswer = { ...answer, trace, traceHash: toHex(keccak(trace)) };

let nonce = 0n;
/** Signs ahead: that is the client's work. */
function sign(count: number): PaidRequest[] {
  return Array.from({ length: count }, (_, i) => {
    const channel = world.channels[i % world.channels.length];
    if (i % world.channels.length === 0) nonce++;
    const [request, salt] = [world.dice.bytes(200), world.dice.bytes(32)];
    const terms = { maxPrice: 10n ** 14n, cap: world.registry.channel(channel)!.deposit };
    const expiry = BigInt(world.now + 3_000);
    const requestHash = saltedHash(salt, request);
    const signed = resigned(world, { channel, nonce, ...world.agents[0], requestHash, ...terms, expiry });
    const { signature, ...voucher } = signed;
    return { voucher, signature: toHex(signature), request, salt: toHex(salt) };
  });
}

const limits = { jobsInFlight: 10_000, requestsPerSecond: 1e6, burst: 1e6 };
const queue = new JobQueue({ redis: redis.url, limits, addTimeout: 60_000 });
const worker = new JobWorker({
  redis: redis.url,
  sequencer,
  concurrency: CONCURRENCY,
  clock,
  serve: async (_, onPiece) => {
    onPiece({ at: 0, text: answer.text });
    return served;
  },
  decode: ({ jobId, voucher: { channel, agent, version, maxPrice } }) => {
    return { jobId, agent, version, payer: String(channel), maxPrice, prompt: { text: "" }, sampling: {} };
  },
  encode: () => new TextEncoder().encode(answer.text),
});
await worker.ready();
const bull = new Redis(redis.url, { maxRetriesPerRequest: null });
const plain = new Queue("plain", { connection: bull });
let done = 0;
let allDone = () => {};
const plainWorker = new Worker("plain", async () => {}, { connection: bull, concurrency: CONCURRENCY });
plainWorker.on("completed", () => ++done === COUNT && allDone());
await plainWorker.waitUntilReady();

/** Runs `one` for every item, as many at once as jobs of all channels may be in flight. */
async function inTurn<T>(items: readonly T[], one: (item: T) => Promise<void>): Promise<void> {
  const rest = items.values();
  const lane = async () => {
    for (const item of rest) await one(item);
  };
  await Promise.all(Array.from({ length: PER_CHANNEL * world.channels.length }, lane));
}

const latencies: number[] = [];
async function through(paid: PaidRequest): Promise<void> {
  const started = performance.now();
  const { jobId } = await sequencer.admit(paid);
  await queue.add({ jobId, channel: paid.voucher.channel, agent: paid.voucher.agent });
  for await (const event of queue.events(jobId)) {
    if (event.type === "failed") throw new Error(`${event.code}: ${event.message}`);
  }
  latencies.push(performance.now() - started);
}

const rate = async (work: () => Promise<void>): Promise<number> => {
  const started = performance.now();
  await work();
  return (COUNT / (performance.now() - started)) * 1_000;
};
const plainRound = () =>
  rate(async () => {
    done = 0;
    const finished = new Promise<void>((resolve) => {
      allDone = resolve;
    });
    await inTurn(
      Array.from({ length: COUNT }, (_, i) => i),
      async () => void (await plain.add("nothing", {}, { removeOnComplete: true })),
    );
    await finished;
  });

await inTurn(sign(500), through);
latencies.length = 0;
const rates: { ours: number; plain: number }[] = [];
for (let round = 0; round < ROUNDS; round++) {
  const jobs = sign(COUNT);
  const ours = await rate(() => inTurn(jobs, through));
  rates.push({ ours, plain: await plainRound() });
  say(`round ${round + 1}: ${Math.round(ours)} paid jobs/s, BullMQ alone ${Math.round(rates[round].plain)}/s`);
}
const median = (numbers: number[]) => percentile(numbers, 0.5);
const jobsPerSecond = median(rates.map(({ ours }) => ours));
const ratio = median(rates.map(({ ours, plain: alone }) => ours / alone));

await worker.close();
const waiting = sign(1_000);
for (const paid of waiting) {
  const { jobId } = await sequencer.admit(paid);
  await queue.add({ jobId, channel: paid.voucher.channel, agent: paid.voucher.agent });
}
const refillMs: number[] = [];
for (let i = 0; i < 5; i++) {
  const started = performance.now();
  const { unfinished, added } = await refillQueue({ sequencer, queue, now: clock() });
  if (unfinished !== waiting.length || added > 0) throw new Error("The refill found something missing.");
  refillMs.push(performance.now() - started);
}

const report = {
  jobsPerSecond: round3(jobsPerSecond),
  bullmqJobsPerSecond: round3(median(rates.map(({ plain: alone }) => alone))),
  ratio: round3(ratio),
  underLoadMs: { p50: round3(median(latencies)), p99: round3(percentile(latencies, 0.99)) },
  refillOf1000Ms: round3(median(refillMs)),
};
say(`\nPaid jobs, each verified, journaled twice and streamed: ${report.jobsPerSecond}/s`);
say(`BullMQ alone, jobs of nothing:                          ${report.bullmqJobsPerSecond}/s`);
say(`Ratio: ${report.ratio} (at least 0.15 is wanted)`);
say(`A job under this load: ${report.underLoadMs.p50} ms in the middle, ${report.underLoadMs.p99} ms at p99`);
say(`Looking through 1,000 waiting jobs with nothing missing: ${report.refillOf1000Ms} ms`);
if (values.json) console.log(JSON.stringify(report));

await Promise.all([plainWorker.close(), plain.close(), queue.close()]);
bull.disconnect();
office.close();
await redis.stop();
