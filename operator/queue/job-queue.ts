import { type Job, Queue } from "bullmq";
import type { Redis } from "ioredis";
import type { MetricFamily } from "../engine/metrics.ts";
import type { Hex } from "../protocol/bytes.ts";
import { QueueLimitReached, QueueUnavailable } from "./errors.ts";
import { EventReader } from "./event-reader.ts";
import { EventWriter } from "./event-writer.ts";
import type { JobEvent, LostEvent } from "./job-events.ts";
import { connectRedis, DEFAULT_PREFIX, durabilityWarnings, QUEUE_NAME, QueueKeys } from "./redis-connection.ts";
import { type QueueLimits, type Turn, Turns } from "./turns.ts";

export interface JobQueueOptions {
  /** `redis://host:port/db`; `rediss:` for TLS. */
  redis: string;
  /** In front of all keys: operators that share a Redis have one each. Default `openledger`. */
  prefix?: string;
  /** Milliseconds after which {@link QueueUnavailable} is thrown. Default 2,000. */
  addTimeout?: number;
  limits?: QueueLimits;
  /** Milliseconds before a job's second attempt; each later pause is twice the one before. Default 500. */
  retryPause?: number;
  /** Hears what is wrong with the settings of Redis. Default: the error output. */
  warn?: (message: string) => void;
}

/** A job as the queue has it; all else is in the journal. */
export interface QueuedJob {
  jobId: Hex;
  /** The payer's channel: jobs of one channel do not hold up those of others. */
  channel: number;
  agent: number;
}

/** What a worker finds in BullMQ's job. */
export interface JobData extends QueuedJob {
  turn: Turn;
}

export interface JobCounts {
  /** To be taken. */
  waiting: number;
  /** To be tried again after a pause. */
  delayed: number;
  active: number;
  completed: number;
  /** Given up after the last attempt. */
  failed: number;
}

/** A job as operators look at it. Times are milliseconds since 1970. */
export interface InspectedJob extends QueuedJob {
  state: string;
  attempts: number;
  /** Times that its worker vanished. */
  stalls: number;
  addedAt: number;
  startedAt?: number;
  endedAt?: number;
  /** Why the last attempt failed. */
  reason?: string;
}

/** Tried this often, with pauses that double. */
export const ATTEMPTS = 5;
const HOUR = 3_600;
/** Milliseconds beyond every pause between two attempts. */
const LONGEST_PAUSE = 60_000;
/** BullMQ's order of delayed jobs is by the millisecond at which they are due, times this. */
const DELAYED_SCORE = 0x1000;
const HASTENED_AT_ONCE = 500;
/** Parts in which Redis is waited for. */
const PARTS = 20;

/**
 * The queue as gateways and the settler see it. Redis may be down at any time: what cannot wait is bounded in time, and
 * streams of events go on when Redis is back.
 */
export class JobQueue {
  readonly #redis: Redis;
  readonly #queue: Queue<JobData>;
  readonly #keys: QueueKeys;
  readonly #turns: Turns;
  readonly #reader: EventReader;
  readonly #addTimeout: number;
  readonly #retryPause: number;
  readonly #refused = { jobsInFlight: 0, requestRate: 0, unavailable: 0 };
  #added = 0;
  #lost = 0;

  constructor(options: JobQueueOptions) {
    const {
      redis,
      prefix = DEFAULT_PREFIX,
      addTimeout = 2_000,
      retryPause = 500,
      limits,
      warn = console.warn,
    } = options;
    this.#redis = connectRedis(redis);
    this.#keys = new QueueKeys(prefix);
    this.#turns = new Turns(this.#redis, this.#keys, limits);
    this.#queue = new Queue(QUEUE_NAME, { connection: this.#redis, prefix });
    this.#queue.on("error", () => {});
    // Whatever is read after a lost connection is read from the start, by a new command.
    const reading = connectRedis(redis, { autoResendUnfulfilledCommands: false, enableOfflineQueue: false });
    this.#reader = new EventReader(reading, this.#redis, this.#keys);
    this.#addTimeout = addTimeout;
    this.#retryPause = retryPause;
    void durabilityWarnings(this.#redis).then(
      (warnings) => {
        for (const warning of warnings) warn(`WARNING: ${warning}`);
      },
      () => {},
    );
  }

  /**
   * Looks whether {@link add} would refuse a payer's next job, so that nothing has to be admitted in vain. Nothing is
   * counted: this may be asked before a voucher's signature was checked.
   *
   * @throws {QueueLimitReached}
   * @throws {QueueUnavailable}
   */
  async checkLimits(channel: number): Promise<void> {
    await this.#bounded(() => this.#turns.check(channel));
  }

  /**
   * Puts an admitted job into the queue. One that is in it stays as it is.
   *
   * @param options.limited False for a job that was let in before. Default true.
   * @throws {QueueLimitReached} The payer has too many jobs, or asks too often. The job has to be failed in the journal,
   * or it comes back from there.
   * @throws {QueueUnavailable} Within the time given. The journal has the job, and brings it into the queue later.
   */
  async add({ jobId, channel, agent }: QueuedJob, { limited = true } = {}): Promise<void> {
    await this.#bounded(async () => {
      const turn = await this.#turns.enter(jobId, channel, limited);
      const data: JobData = { jobId, channel, agent, turn };
      await this.#queue.add("answer", data, {
        jobId,
        priority: turn.at,
        attempts: ATTEMPTS,
        backoff: { type: "exponential", delay: this.#retryPause },
        // The journal says what is completed; this is for those who look, and against adding twice what just ended.
        removeOnComplete: { age: HOUR, count: 10_000 },
        removeOnFail: { age: 7 * 24 * HOUR, count: 10_000 },
      });
    });
    this.#added++;
  }

  /**
   * What workers say of a job, from piece `from` on, each piece once and in order; several may listen. Ends after
   * `completed` or `failed`, or quietly when the signal fires. While Redis is away, it waits.
   *
   * `lost` asks the listener to look into the journal: when the job is `accepted` there, it should go on listening.
   * Pieces may be missing before `completed` (the listener fell far behind, or Redis lost them): the answer in the
   * journal begins with the pieces that were given.
   *
   * @throws {QueueUnavailable} When this queue is closed.
   */
  async *events(
    jobId: Hex,
    { from = 0, signal }: { from?: number; signal?: AbortSignal } = {},
  ): AsyncGenerator<JobEvent | LostEvent> {
    for await (const event of this.#reader.events(jobId, from, signal)) {
      if (event.type === "lost") this.#lost++;
      yield event;
    }
  }

  /**
   * The client has left: a worker that serves the job stops within milliseconds, and what there is becomes the answer.
   * A job that still waits is failed without a charge.
   *
   * @throws {QueueUnavailable}
   */
  async cancel(jobId: Hex): Promise<void> {
    await this.#bounded(async () => {
      const { cancelled, cancellations } = this.#keys;
      await this.#redis.multi().set(cancelled(jobId), "1", "EX", HOUR).publish(cancellations, jobId).exec();
    });
  }

  /** @throws {QueueUnavailable} */
  async counts(): Promise<JobCounts> {
    const counts = await this.#bounded(() => this.#queue.getJobCounts());
    const { active = 0, completed = 0, failed = 0, delayed = 0 } = counts;
    return { waiting: (counts.waiting ?? 0) + (counts.prioritized ?? 0), delayed, active, completed, failed };
  }

  /** Jobs that no worker has yet. @throws {QueueUnavailable} */
  async depth(): Promise<number> {
    const { waiting, delayed } = await this.counts();
    return waiting + delayed;
  }

  /** Jobs given up after their last attempt, the latest first. @throws {QueueUnavailable} */
  async failed(limit = 100): Promise<InspectedJob[]> {
    const jobs = await this.#bounded(() => this.#queue.getJobs("failed", 0, limit - 1));
    return jobs.filter((job) => job !== undefined).map((job) => inspected(job, "failed"));
  }

  /**
   * Puts jobs that were given up back into the queue. Those that the journal has as failed stay so: a worker only says
   * it once more.
   *
   * @returns How many.
   * @throws {QueueUnavailable}
   */
  async retry(which: Hex | "all"): Promise<number> {
    const jobs = which === "all" ? await this.failed(10_000) : [await this.inspect(which)];
    let retried = 0;
    for (const job of jobs) {
      if (job?.state !== "failed") continue;
      await this.putBack(job);
      retried++;
    }
    return retried;
  }

  /** @throws {QueueUnavailable} */
  async inspect(jobId: Hex): Promise<InspectedJob | undefined> {
    return this.#bounded(async () => {
      const job = await this.#queue.getJob(jobId);
      return job && inspected(job, await job.getState());
    });
  }

  /**
   * Which of these jobs nobody will serve: those that Redis does not have, and those that it takes for ended.
   *
   * @throws {QueueUnavailable}
   */
  async missing(jobIds: readonly Hex[]): Promise<Map<Hex, "unknown" | "ended">> {
    const pipeline = this.#redis.pipeline();
    for (const jobId of jobIds) pipeline.hmget(this.#keys.job(jobId), "timestamp", "finishedOn");
    const replies = (await this.#bounded(() => pipeline.exec())) ?? [];
    const missing = new Map<Hex, "unknown" | "ended">();
    replies.forEach(([error, fields], i) => {
      if (error) throw new QueueUnavailable("Redis could not look for jobs.", { cause: error });
      const [addedAt, finishedOn] = fields as (string | null)[];
      if (!addedAt) missing.set(jobIds[i], "unknown");
      else if (finishedOn) missing.set(jobIds[i], "ended");
    });
    return missing;
  }

  /**
   * Makes jobs wait no more that were put off for longer than anything is: the clock by which that was done has been set
   * back since.
   *
   * @returns How many.
   * @throws {QueueUnavailable}
   */
  async hasten(): Promise<number> {
    return this.#bounded(async () => {
      const from = (Date.now() + LONGEST_PAUSE) * DELAYED_SCORE;
      const jobIds = await this.#redis.zrangebyscore(this.#keys.delayed, from, "+inf", "LIMIT", 0, HASTENED_AT_ONCE);
      const jobs = await Promise.all(jobIds.map((jobId) => this.#queue.getJob(jobId)));
      await Promise.all(jobs.map((job) => job?.promote()));
      return jobs.length;
    });
  }

  /** Adds a job anew, whatever Redis thinks became of it. @throws {QueueUnavailable} */
  async putBack(job: QueuedJob): Promise<void> {
    // An id that BullMQ has, ended or not, is not added again.
    await this.#bounded(() => this.#queue.remove(job.jobId));
    await this.add(job, { limited: false });
  }

  /**
   * Takes a job out that no worker has.
   *
   * @returns False when a worker has it.
   * @throws {QueueUnavailable}
   */
  async remove({ jobId, channel }: QueuedJob): Promise<boolean> {
    return this.#bounded(async () => {
      if ((await this.#queue.remove(jobId)) !== 1) return false;
      await this.#turns.leave(jobId, channel);
      return true;
    });
  }

  /** Tells listeners that a job was failed in the journal. @throws {QueueUnavailable} */
  async announceFailure(jobId: Hex, { code, message }: { code: string; message: string }): Promise<void> {
    const writer = new EventWriter(this.#redis, this.#keys, jobId);
    await this.#bounded(() => writer.end({ type: "failed", code, message })).finally(() => writer.abandon());
  }

  async metrics(): Promise<MetricFamily[]> {
    const counts = await this.counts();
    const by = (label: string, values: object) =>
      Object.entries(values).map(([key, value]) => ({ labels: { [label]: key }, value: value as number }));
    const listening = [{ labels: {}, value: this.#reader.size }];
    return [
      { name: "openledger_queue_jobs", type: "gauge", help: "Jobs in the queue.", samples: by("state", counts) },
      {
        name: "openledger_queue_added_total",
        type: "counter",
        help: "Jobs put into the queue by this process.",
        samples: [{ labels: {}, value: this.#added }],
      },
      {
        name: "openledger_queue_refused_total",
        type: "counter",
        help: "Requests that the queue did not take.",
        samples: by("reason", this.#refused),
      },
      {
        name: "openledger_queue_lost_total",
        type: "counter",
        help: "Times that a listener was sent to the journal.",
        samples: [{ labels: {}, value: this.#lost }],
      },
      { name: "openledger_queue_followed_jobs", type: "gauge", help: "Jobs listened to.", samples: listening },
    ];
  }

  async close(): Promise<void> {
    this.#reader.close();
    await this.#queue.close().catch(() => {});
    this.#redis.disconnect();
  }

  async #bounded<T>(ask: () => Promise<T>): Promise<T> {
    const { promise: late, reject } = Promise.withResolvers<never>();
    const message = `Redis did not answer within ${this.#addTimeout} ms.`;
    const stop = afterPatience(this.#addTimeout, () => reject(new QueueUnavailable(message)));
    try {
      return await Promise.race([ask(), late]);
    } catch (error) {
      if (error instanceof QueueLimitReached) {
        this.#refused[error.code]++;
        throw error;
      }
      this.#refused.unavailable++;
      if (error instanceof QueueUnavailable) throw error;
      throw new QueueUnavailable(`Redis could not be asked: ${(error as Error).message}`, { cause: error });
    } finally {
      stop();
    }
  }
}

/**
 * Waits in short parts, so that the time for which this process itself was held up (it waits for its disk or for a
 * processor) counts as one of them: the answer then lies here already and is read before the next part is over.
 *
 * @returns Stops the waiting.
 */
function afterPatience(milliseconds: number, late: () => void): () => void {
  const part = milliseconds / PARTS;
  let left = PARTS;
  let timer: NodeJS.Timeout;
  const wait = () => {
    if (left-- === 0) late();
    else timer = setTimeout(wait, part);
  };
  wait();
  return () => clearTimeout(timer);
}

function inspected(job: Job<JobData>, state: string): InspectedJob {
  const { jobId, channel, agent } = job.data;
  return {
    jobId,
    channel,
    agent,
    state,
    attempts: job.attemptsMade,
    stalls: job.stalledCounter,
    addedAt: job.timestamp,
    ...(job.processedOn && { startedAt: job.processedOn }),
    ...(job.finishedOn && { endedAt: job.finishedOn }),
    ...(job.failedReason && { reason: job.failedReason }),
  };
}
