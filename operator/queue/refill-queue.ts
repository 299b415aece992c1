import { setTimeout as sleep } from "node:timers/promises";
import type { JobRecord, Sequencer } from "../settlement/sequencer.ts";
import { EXPIRED } from "./attempt.ts";
import type { JobQueue, QueuedJob } from "./job-queue.ts";

export interface RefillOptions {
  sequencer: Sequencer;
  queue: JobQueue;
  /** Seconds since 1970, as the sequencer counts them. */
  now: number;
  /** Seconds for which a job that was just admitted is left to its gateway. Default 0. */
  grace?: number;
}

/** What one walk through the unfinished jobs did. */
export interface RefillReport {
  unfinished: number;
  added: number;
  /** Jobs whose voucher had run out, and that no worker had. */
  expired: number;
}

/** Jobs that Redis is asked for at a time. */
const PAGE = 500;

/**
 * Brings jobs that the journal has as accepted, and that nobody will serve, back into the queue: Redis has lost them or
 * takes them for ended, or their gateway died. Fails those whose voucher has run out.
 *
 * @throws {QueueUnavailable}
 * @throws {SequencerUnreachable}
 */
export async function refillQueue(options: RefillOptions): Promise<RefillReport> {
  const report: RefillReport = { unfinished: 0, added: await options.queue.hasten(), expired: 0 };
  let page: JobRecord[] = [];
  for await (const job of options.sequencer.unfinished()) {
    report.unfinished++;
    page.push(job);
    if (page.length < PAGE) continue;
    await refillPage(options, page, report);
    page = [];
  }
  await refillPage(options, page, report);
  return report;
}

async function refillPage(
  { sequencer, queue, now, grace = 0 }: RefillOptions,
  page: JobRecord[],
  report: RefillReport,
) {
  const missing = await queue.missing(page.map(({ jobId }) => jobId));
  for (const record of page) {
    const { jobId, voucher, admittedAt } = record;
    const job: QueuedJob = { jobId, channel: voucher.channel, agent: voucher.agent };
    if (voucher.expiry <= BigInt(now)) {
      // Whoever works on it may still charge it: the batch has time beyond the voucher's.
      if (!(await queue.remove(job))) continue;
      if (await isEnded(sequencer, job)) continue;
      await sequencer.fail(jobId, `${EXPIRED.code}: ${EXPIRED.message}`);
      await queue.announceFailure(jobId, EXPIRED);
      report.expired++;
      continue;
    }
    // Far in the future is as long ago: before the clock was set back.
    if (!missing.has(jobId) || Math.abs(now - admittedAt) < grace) continue;
    // The list is older than what Redis said: it may have ended in between.
    if (await isEnded(sequencer, job)) continue;
    await queue.putBack(job);
    report.added++;
  }
}

async function isEnded(sequencer: Sequencer, { jobId }: QueuedJob): Promise<boolean> {
  return (await sequencer.job(jobId))?.state !== "accepted";
}

export interface RefillLoopOptions extends Omit<RefillOptions, "now"> {
  /** Seconds since 1970. Default: the system's. */
  clock?: () => number;
  /** Milliseconds between two walks at least. Default 3,000. */
  interval?: number;
  /** Hears of what was brought back, and of what went wrong. Default: the error output. */
  say?: (message: string) => void;
}

/** Share of the time that walking through the jobs may take. */
const SHARE = 0.05;

/** Refills the queue now and again, until the signal fires. Never throws: what failed is tried again. */
export async function keepQueueFilled(options: RefillLoopOptions, signal: AbortSignal): Promise<void> {
  const { clock = () => Math.floor(Date.now() / 1_000), interval = 3_000, say = console.warn } = options;
  // At the start nobody else is about to add anything.
  for (let grace = 0; !signal.aborted; grace = options.grace ?? 5) {
    const started = performance.now();
    try {
      const { added, expired } = await refillQueue({ ...options, now: clock(), grace });
      if (added + expired > 0) say(`Queue: ${added} jobs brought back from the journal, ${expired} had run out.`);
    } catch (error) {
      say(`The queue could not be filled from the journal: ${(error as Error).message}`);
    }
    const pause = Math.max(interval, (performance.now() - started) / SHARE);
    await sleep(pause, undefined, { signal }).catch(() => {});
  }
}
