import { setTimeout as sleep } from "node:timers/promises";
import type { Hex } from "../../operator/protocol/bytes.ts";
import { JobQueue } from "../../operator/queue/job-queue.ts";
import { connectRedis } from "../../operator/queue/redis-connection.ts";
import type { JobRecord, ReceiptRecord } from "../../operator/settlement/sequencer.ts";
import { type ChaosWorld, PREFIX } from "./chaos-world.ts";
import type { Customer } from "./customer.ts";

/** What is left when all is over. */
export interface Reckoning {
  /** Everything that does not agree, in sentences. */
  wrong: string[];
  questions: number;
  receipts: number;
  /** Vouchers signed, and those of them that the operator failed without a charge or never took. */
  signed: number;
  uncharged: number;
  /** Wei of OPEN. */
  charged: bigint;
  batches: number;
}

/**
 * Waits until nothing is in flight any more and everything is final and paid on the chain, ends the processes, and holds
 * payers' ledgers, journal, queue and chain against each other.
 *
 * @param until Milliseconds since 1970 at which waiting ends.
 */
export async function reckon(world: ChaosWorld, until: number): Promise<Reckoning> {
  const wrong: string[] = [];
  const { customers, sequencer, stage, olga } = world;
  for (const { fatal } of customers) if (fatal) wrong.push(`A payer gave up: ${fatal.stack}`);
  await waitUntil(async () => (await collect(sequencer.unfinished())).length === 0, until, "jobs in flight", wrong);
  await Promise.all(customers.map((customer) => settle(world, customer, until)));
  await waitUntil(async () => (await collect(sequencer.unfinished())).length === 0, until, "jobs in flight", wrong);
  for (const customer of customers) {
    const { ledger } = customer;
    const { jobs, charged } = ledger.balance();
    const statement = await sequencer.channel(ledger.channel);
    const open = await openOnes(world, customer);
    if (open.taken > 0)
      wrong.push(`Channel ${ledger.channel}: the payer does not know what became of ${open.taken} jobs.`);
    if (jobs !== open.taken + open.never) wrong.push(`Channel ${ledger.channel}: the ledger counts ${jobs} open jobs.`);
    if (statement.reserved !== 0n) wrong.push(`Channel ${ledger.channel}: ${statement.reserved} wei are reserved.`);
    if (statement.charged !== charged) {
      wrong.push(`Channel ${ledger.channel}: ${statement.charged} charged, ${charged} in the payer's ledger.`);
    }
  }
  const due = customers.reduce((sum, { ledger }) => sum + ledger.balance().charged, 0n);
  const isPaid = async () => (await paidOut(world)) === due;
  await waitUntil(isPaid, until, "money on the chain", wrong);
  await checkQueue(world, until, wrong);
  await world.stopProcesses();

  const journal = world.journal();
  try {
    const receipts = journal.receiptsAbove(0);
    const jobs = new Map<Hex, JobRecord | undefined>();
    for (const { ledger } of customers) {
      for (const signed of ledger.history(1_000_000)) {
        const { jobId, state, price } = signed;
        const job = journal.job(jobId);
        jobs.set(jobId, job);
        const isCharged = state === "charged" && job?.receipt?.price === price;
        // One that the operator never got stays open for its payer until it has expired.
        const isFree = job === undefined ? state !== "charged" : state === "forgotten" && job.state === "failed";
        if (!isCharged && !isFree) wrong.push(`Job ${jobId}: ${state} for its payer, ${job?.state} in the journal.`);
      }
    }
    checkReceipts(receipts, jobs, wrong);
    checkAnswers(world, receipts, jobs, wrong);
    if (journal.vouchersInFlight().length > 0) wrong.push("The journal has vouchers in flight.");
    for (const { channel } of olga.channels) {
      const inJournal = sum(receipts.filter((one) => one.channel === channel).map(({ price }) => price));
      const collected = await stage.contracts.channels.read.collectedOf([channel]);
      if (collected !== inJournal) wrong.push(`Channel ${channel}: ${inJournal} in receipts, ${collected} collected.`);
    }
    const { tip, finalHeight } = await stage.contracts.settlement.read.chainOf([olga.id]);
    if (tip !== finalHeight) wrong.push(`${tip} batches are on the chain, ${finalHeight} of them final.`);
    const signed = jobs.size;
    const uncharged = signed - receipts.length;
    const questions = customers.reduce((count, { asked }) => count + asked.length, 0);
    return { wrong, questions, receipts: receipts.length, signed, uncharged, charged: due, batches: Number(tip) };
  } finally {
    journal.close();
  }
}

/** Jobs that are open for their payer: those that the operator has, and those that never came to it. */
async function openOnes({ sequencer }: ChaosWorld, { ledger }: Customer): Promise<{ taken: number; never: number }> {
  const open = ledger.history(1_000_000).filter(({ state }) => state === "signed");
  const known = await Promise.all(open.map(({ jobId }) => sequencer.job(jobId)));
  const taken = known.filter((job) => job !== undefined).length;
  return { taken, never: open.length - taken };
}

/** Asks small things until the payer knows what became of every voucher that the operator has. */
async function settle(world: ChaosWorld, customer: Customer, until: number): Promise<void> {
  for (let n = 0; Date.now() < until && !customer.hasLeft && (await openOnes(world, customer)).taken > 0; n++) {
    await customer.ask(`Settling ${n} of channel ${customer.ledger.channel}.`);
  }
}

function checkReceipts(receipts: ReceiptRecord[], jobs: Map<Hex, JobRecord | undefined>, wrong: string[]): void {
  const seen = new Set<Hex>();
  const places = new Set<number>();
  for (const { jobId, position } of receipts) {
    if (seen.has(jobId)) wrong.push(`Job ${jobId} has two receipts.`);
    if (places.has(position)) wrong.push(`Two receipts have the position ${position}.`);
    if (!jobs.has(jobId)) wrong.push(`Job ${jobId} was charged, and no payer has signed it.`);
    seen.add(jobId);
    places.add(position);
  }
  const completed = [...jobs.values()].filter((job) => job?.state === "completed").length;
  if (completed !== receipts.length) wrong.push(`${completed} jobs are completed, ${receipts.length} have a receipt.`);
}

/** Each question was answered with what the journal has, and paid once, however often it was sent. */
function checkAnswers(
  world: ChaosWorld,
  receipts: ReceiptRecord[],
  jobs: Map<Hex, JobRecord | undefined>,
  wrong: string[],
): void {
  const paid = new Map<string, string[]>();
  for (const { jobId } of receipts) {
    const { request, response } = jobs.get(jobId)!;
    const question = JSON.parse(Buffer.from(request).toString()).body.messages[0].content as string;
    const answer = JSON.parse(Buffer.from(response!).toString()).choices[0].message.content as string;
    paid.set(question, [...(paid.get(question) ?? []), answer]);
  }
  for (const { question, leaves, answer, ended, isStream, again } of world.customers.flatMap(({ asked }) => asked)) {
    const answers = paid.get(question) ?? [];
    if (answers.length > 1) {
      const ends = ended.map(({ jobId, state }) => `${jobId.slice(0, 10)} ${state}`).join(", ");
      const how = `${isStream ? "streamed" : "whole"}, sent again ${again} times, ended ${ends || "never"}`;
      wrong.push(`"${question}" was paid ${answers.length} times (${how}).`);
    }
    if (leaves) continue;
    if (answers.length === 0) wrong.push(`"${question}" was answered with "${answer}", and no receipt is there.`);
    else if (answers[0] !== answer) wrong.push(`"${question}": "${answer}" was heard, "${answers[0]}" is charged.`);
  }
}

/** Nothing waits, nobody holds a lock, and what is left of streams runs out by itself. */
async function checkQueue(world: ChaosWorld, until: number, wrong: string[]): Promise<void> {
  const queue = new JobQueue({ redis: world.redis.url, prefix: PREFIX, warn: () => {} });
  const redis = connectRedis(world.redis.url);
  try {
    const isEmpty = async () => {
      const { waiting, delayed, active } = await queue.counts();
      return waiting + delayed + active === 0;
    };
    await waitUntil(isEmpty, until, "jobs in Redis", wrong);
    const keys = await redis.keys(`${PREFIX}:*`);
    for (const key of keys.filter((one) => one.endsWith(":lock"))) wrong.push(`Redis keeps ${key}.`);
    const streams = keys.filter((one) => one.startsWith(`${PREFIX}:events:`));
    for (const key of streams) if ((await redis.ttl(key)) < 0) wrong.push(`Redis keeps ${key} for ever.`);
    for (const { channel } of world.olga.channels) {
      const left = await redis.zrange(`${PREFIX}:inflight:${channel}`, "0", "-1");
      if (left.length > 0) wrong.push(`Redis counts ${left.length} jobs of channel ${channel} as in flight: ${left}.`);
    }
  } finally {
    redis.disconnect();
    await queue.close();
  }
}

/** What operator, publisher and treasury have got since the world began, in wei of OPEN. */
async function paidOut({ stage, earners, ownedBefore }: ChaosWorld): Promise<bigint> {
  const of = (account: Hex) => stage.contracts.token.read.balanceOf([account]);
  return sum(await Promise.all(earners.map(of))) - ownedBefore;
}

function sum(amounts: readonly bigint[]): bigint {
  return amounts.reduce((total, amount) => total + amount, 0n);
}

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

async function waitUntil(holds: () => Promise<boolean>, until: number, what: string, wrong: string[]): Promise<void> {
  let last: unknown;
  for (;;) {
    try {
      if (await holds()) return;
    } catch (error) {
      last = error;
    }
    if (Date.now() > until) return void wrong.push(`Waited in vain: ${what}.${last ? ` ${last}` : ""}`);
    await sleep(200);
  }
}
