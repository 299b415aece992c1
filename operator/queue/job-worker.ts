import { setTimeout as sleep } from "node:timers/promises";
import { DelayedError, type Job, Queue, Worker } from "bullmq";
import type { Redis } from "ioredis";
import type { MetricFamily } from "../engine/metrics.ts";
import type { Hex } from "../protocol/bytes.ts";
import type { ServeJob } from "../serving/served-job.ts";
import { SequencerUnreachable } from "../settlement/errors.ts";
import type { Sequencer } from "../settlement/sequencer.ts";
import { Attempt, type AttemptEnd, CANCELLED, type Codec, giveUp, type Reason } from "./attempt.ts";
import { EventWriter } from "./event-writer.ts";
import { ATTEMPTS, type JobData } from "./job-queue.ts";
import { connectForBullMq, connectRedis, DEFAULT_PREFIX, QUEUE_NAME, QueueKeys } from "./redis-connection.ts";
import { Turns } from "./turns.ts";

export interface JobWorkerOptions extends Codec {
  /** As of the gateways' {@link JobQueue}. */
  redis: string;
  prefix?: string;
  sequencer: Sequencer;
  serve: ServeJob;
  /** Jobs served at once. Default 32. */
  concurrency?: number;
  /** Seconds since 1970, as the sequencer counts them. Default: the system's. */
  clock?: () => number;
  /** Hears of errors that will be tried again. Default: the error output. */
  warn?: (message: string) => void;
}

/** Milliseconds without a sign of life after which others take a worker's jobs; they look twice as often. */
const LOCK = 5_000;
/** Milliseconds after which a job is taken up again whose sequencer could not be reached. */
const UNREACHABLE_PAUSE = 1_000;
/** Workers that a job may take with it before it is given up. */
const MAX_STALLS = 20;
/** Milliseconds that saying goodbye to Redis may take: it may be away. */
const GOODBYE = 2_000;
/** Milliseconds that jobs have to stop when their worker is closed by force. */
const STOPPING = 500;
const IDLE_CHECK = 20;
/** Milliseconds after which a cancellation is found that was told while the connection was away. */
const CANCELLATION_CHECK = 2_000;

/** What a client hears of errors that are none of its business; operators find them in the set of failed jobs. */
const GIVEN_UP: Reason = { code: "internal", message: "The operator could not serve the job." };

/**
 * Takes jobs from the queue, has them served, charges them at the sequencer and tells the gateways.
 *
 * A job may be served twice, by this worker or another, whenever somebody is killed or Redis forgets: the sequencer
 * charges it once, and the second answer's pieces are those that the first one lacked.
 */
export class JobWorker {
  readonly #options: JobWorkerOptions;
  readonly #clock: () => number;
  readonly #warn: (message: string) => void;
  readonly #keys: QueueKeys;
  readonly #bull: ReturnType<typeof connectForBullMq>;
  readonly #connections: { commands: Redis; cancellations: Redis };
  readonly #turns: Turns;
  readonly #queue: Queue<JobData>;
  readonly #worker: Worker<JobData>;
  readonly #running = new Map<Hex, Attempt>();
  readonly #ends: Record<AttemptEnd | "retried", number> = { completed: 0, failed: 0, known: 0, retried: 0 };
  readonly #givingUp = new Set<Promise<void>>();
  readonly #looking: NodeJS.Timeout;
  #isDraining = false;
  #isForced = false;
  #closing: Promise<void> | undefined;

  constructor(options: JobWorkerOptions) {
    const { redis, prefix = DEFAULT_PREFIX, concurrency = 32 } = options;
    this.#options = options;
    this.#clock = options.clock ?? (() => Math.floor(Date.now() / 1_000));
    this.#warn = options.warn ?? console.warn;
    this.#keys = new QueueKeys(prefix);
    this.#bull = connectForBullMq(redis);
    this.#connections = {
      commands: connectRedis(redis),
      cancellations: connectRedis(redis),
    };
    this.#turns = new Turns(this.#connections.commands, this.#keys);
    this.#queue = new Queue(QUEUE_NAME, { connection: this.#bull.redis, prefix });
    this.#queue.on("error", () => {});
    this.#worker = new Worker<JobData>(QUEUE_NAME, (job, token) => this.#process(job, token!), {
      connection: this.#bull.redis,
      prefix,
      concurrency,
      lockDuration: LOCK,
      stalledInterval: LOCK / 2,
      maxStalledCount: MAX_STALLS,
      runRetryDelay: 500,
    });
    this.#worker.on("error", ({ message }) => this.#warn(`The queue's worker: ${message}`));
    // After the last attempt, and for jobs that took too many workers with them.
    this.#worker.on("failed", (job) => job?.finishedOn && this.#giveUp(job.data, GIVEN_UP));
    void this.#listenForCancellations();
    this.#looking = setInterval(() => void this.#lookForCancellations().catch(() => {}), CANCELLATION_CHECK);
  }

  /** Jobs being served now. */
  get running(): number {
    return this.#running.size;
  }

  /** Resolves when the first job could be taken. */
  async ready(): Promise<void> {
    await this.#worker.waitUntilReady();
  }

  /** Takes nothing new; resolves when all that runs has been answered. */
  async drain(): Promise<void> {
    this.#isDraining = true;
    // Not BullMQ's own waiting, which would also wait for Redis.
    await this.#worker.pause(true);
    while (this.#running.size > 0 && !this.#isForced) await sleep(IDLE_CHECK);
  }

  /**
   * @param options.force Does not wait for what runs: other workers take it up within seconds. May follow a call
   * without, which it hurries. Default false.
   */
  close({ force = false } = {}): Promise<void> {
    if (force) {
      for (const attempt of this.#running.values()) attempt.abandon();
      setTimeout(() => {
        this.#isForced = true;
      }, STOPPING);
    }
    this.#closing ??= this.#close();
    return this.#closing;
  }

  metrics(): MetricFamily[] {
    const ends = Object.entries(this.#ends).map(([end, value]) => ({ labels: { end }, value }));
    const running = [{ labels: {}, value: this.running }];
    return [
      { name: "openledger_worker_jobs_total", type: "counter", help: "Attempts at jobs, by their end.", samples: ends },
      { name: "openledger_worker_jobs_running", type: "gauge", help: "Jobs being served.", samples: running },
    ];
  }

  async #process(job: Job<JobData>, token: string): Promise<void> {
    // One that was being fetched when the draining began is left to others.
    if (this.#isDraining) return this.#putOff(job, token, 0);
    const { jobId, channel, turn } = job.data;
    const writer = new EventWriter(this.#connections.commands, this.#keys, jobId);
    const attempt = new Attempt(this.#options, jobId, writer, this.#clock);
    this.#running.set(jobId, attempt);
    try {
      if (await this.#turns.take(jobId, turn)) attempt.cancel();
      const end = await attempt.run();
      this.#ends[end]++;
      await this.#turns.leave(jobId, channel);
    } catch (error) {
      this.#ends.retried++;
      if (error instanceof SequencerUnreachable || attempt.isAbandoned) {
        // Not the job's fault: it does not count among its attempts.
        await this.#putOff(job, token, attempt.isAbandoned ? 0 : UNREACHABLE_PAUSE);
      }
      this.#warn(`Job ${jobId}, attempt ${job.attemptsMade + 1} of ${ATTEMPTS}: ${(error as Error).stack ?? error}`);
      throw error instanceof Error ? error : new Error(String(error));
    } finally {
      writer.abandon();
      if (this.#running.get(jobId) === attempt) this.#running.delete(jobId);
    }
  }

  async #putOff(job: Job<JobData>, token: string, pause: number): Promise<never> {
    await job.moveToDelayed(Date.now() + pause, token);
    throw new DelayedError();
  }

  #giveUp(job: JobData, reason: Reason): void {
    const done = this.#failNow(job, reason).finally(() => this.#givingUp.delete(done));
    this.#givingUp.add(done);
  }

  async #failNow({ jobId, channel }: JobData, reason: Reason): Promise<void> {
    const writer = new EventWriter(this.#connections.commands, this.#keys, jobId);
    try {
      await giveUp(this.#options.sequencer, jobId, writer, reason);
      await this.#turns.leave(jobId, channel);
      this.#ends.failed++;
    } catch (error) {
      // It is in the journal as accepted, and comes back from there.
      this.#warn(`Job ${jobId} could not be given up: ${(error as Error).message}`);
    } finally {
      writer.abandon();
    }
  }

  async #listenForCancellations(): Promise<void> {
    const { cancellations } = this.#connections;
    cancellations.on("message", (_, jobId) => void this.#onCancelled(jobId as Hex));
    await cancellations.subscribe(this.#keys.cancellations).catch(() => {});
  }

  /** Finds what was told while nobody could hear it. */
  async #lookForCancellations(): Promise<void> {
    for (const [jobId, attempt] of this.#running) {
      if (await this.#connections.commands.exists(this.#keys.cancelled(jobId))) attempt.cancel();
    }
  }

  async #onCancelled(jobId: Hex): Promise<void> {
    const attempt = this.#running.get(jobId);
    if (attempt) return attempt.cancel();
    if (this.#isDraining) return;
    try {
      const job = await this.#queue.getJob(jobId);
      if (!job || job.finishedOn) return;
      // One worker succeeds; where another one has the job, it is the one that was told.
      if ((await this.#queue.remove(jobId)) === 1) this.#giveUp(job.data, CANCELLED);
    } catch {
      // Whoever takes the job sees that it was cancelled.
    }
  }

  async #close(): Promise<void> {
    await this.drain();
    await Promise.race([Promise.all(this.#givingUp), sleep(GOODBYE, undefined, { ref: false })]);
    const { commands, cancellations } = this.#connections;
    clearInterval(this.#looking);
    cancellations.disconnect();
    const goodbye = Promise.allSettled([this.#worker.close(this.#isForced), this.#queue.close()]);
    await Promise.race([goodbye, sleep(GOODBYE, undefined, { ref: false })]);
    this.#bull.disconnect();
    commands.disconnect();
    // While Redis is away BullMQ waits for it before it stops its timer, which would keep the process running.
    await (Reflect.get(this.#worker, "lockManager") as { close(): Promise<void> }).close();
  }
}
