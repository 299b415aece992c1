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

interface Processor {
  /** The thread that does all but recovering signatures. */
  loop: number;
  /** All threads of this process. */
  node: number;
  redis: number;
}

/** Processor time so far, in microseconds. */
async function processor(): Promise<Processor> {
  const sum = ({ user, system }: NodeJS.CpuUsage) => user + system;
  const seconds = /used_cpu_(?:sys|user)_main_thread:([\d.]+)/g;
  let redis = 0;
  for (const [, text] of (await bull.info("cpu")).matchAll(seconds)) redis += 1e6 * Number(text);
  return { loop: sum(process.threadCpuUsage()), node: sum(process.cpuUsage()), redis };
}

interface Round {
  perSecond: number;
  /** Microseconds of processor time for each job. */
  processor: Processor;
}

const rate = async (work: () => Promise<void>): Promise<Round> => {
  const [before, started] = [await processor(), performance.now()];
  await work();
  const [took, after] = [performance.now() - started, await processor()];
  const each = (name: keyof Processor) => (after[name] - before[name]) / COUNT;
  return {
    perSecond: (COUNT / took) * 1_000,
    processor: { loop: each("loop"), node: each("node"), redis: each("redis") },
  };
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
const rounds: { paid: Round; alone: Round }[] = [];
for (let round = 0; round < ROUNDS; round++) {
  const jobs = sign(COUNT);
  const paid = await rate(() => inTurn(jobs, through));
  const alone = await plainRound();
  rounds.push({ paid, alone });
  const [ours, theirs] = [paid, alone].map(({ perSecond }) => Math.round(perSecond));
  say(`round ${round + 1}: ${ours} paid jobs/s, BullMQ alone ${theirs}/s`);
}
const median = (of: (round: (typeof rounds)[0]) => number) => round3(percentile(rounds.map(of), 0.5));
const processorOf = (which: "paid" | "alone"): Processor => ({
  loop: median((round) => round[which].processor.loop),
  node: median((round) => round[which].processor.node),
  redis: median((round) => round[which].processor.redis),
});

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
  jobsPerSecond: median(({ paid }) => paid.perSecond),
  bullmqJobsPerSecond: median(({ alone }) => alone.perSecond),
  ratio: median(({ paid, alone }) => paid.perSecond / alone.perSecond),
  processorUs: { paid: processorOf("paid"), bullmq: processorOf("alone") },
  underLoadMs: { p50: round3(percentile(latencies, 0.5)), p99: round3(percentile(latencies, 0.99)) },
  refillOf1000Ms: round3(percentile(refillMs, 0.5)),
};
say(`\nPaid jobs, each verified, journaled twice and streamed: ${report.jobsPerSecond}/s`);
say(`BullMQ alone, jobs of nothing:                          ${report.bullmqJobsPerSecond}/s`);
say(`Ratio: ${report.ratio} (at least 0.15 is wanted)`);
for (const [name, { loop, node, redis }] of Object.entries(report.processorUs)) {
  say(
    `Processor time of one ${name} job: ${node} us of this process (${loop} on its main thread), ${redis} us of Redis`,
  );
}
say(`A job under this load: ${report.underLoadMs.p50} ms in the middle, ${report.underLoadMs.p99} ms at p99`);
say(`Looking through 1,000 waiting jobs with nothing missing: ${report.refillOf1000Ms} ms`);
if (values.json) console.log(JSON.stringify(report));

await Promise.all([plainWorker.close(), plain.close(), queue.close()]);
bull.disconnect();
office.close();
await redis.stop();
