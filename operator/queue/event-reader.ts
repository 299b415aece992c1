import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { Redis } from "ioredis";
import type { Hex } from "../protocol/bytes.ts";
import { QueueUnavailable } from "./errors.ts";
import { isEnd, type JobEvent, type LostEvent } from "./job-events.ts";
import type { QueueKeys } from "./redis-connection.ts";

/** Milliseconds that Redis keeps a read open; another is made afterwards. */
const BLOCK = 5_000;
/** Entries of each stream in one read. */
const COUNT = 256;
/** Events kept for a listener that does not take them; beyond, they are read again when it does. */
const KEPT = 1_024;
/** Milliseconds of silence after which it is looked whether anybody still works on a job: at first, and at most. */
const QUIET = 2_000;
const QUIET_LONG = 16_000;

/** Where a listener is in the answer, and what it has not taken yet. */
class Listener {
  readonly jobId: Hex;
  readonly #events: (JobEvent | LostEvent)[] = [];
  #next: number;
  #hasMissed = false;
  #isOver = false;
  #wake: (() => void) | undefined;

  constructor(jobId: Hex, from: number) {
    this.jobId = jobId;
    this.#next = from;
  }

  /** Takes what the stream had, in the stream's order; repeated pieces and those after a gap are passed over. */
  offer(event: JobEvent | LostEvent): void {
    if (this.#isOver || this.#hasMissed) return;
    if (event.type === "piece" && event.at !== this.#next) return;
    if (this.#events.length >= KEPT) {
      this.#hasMissed = true;
      return;
    }
    if (event.type === "piece") this.#next++;
    else if (event.type !== "lost") this.#isOver = true;
    else if (this.#events.at(-1)?.type === "lost") return;
    this.#events.push(event);
    this.#wake?.();
  }

  /** @returns Whether the stream has to be read again, since this listener had no room for all of it. */
  catchUp(): boolean {
    if (!this.#hasMissed || this.#events.length > 0) return false;
    this.#hasMissed = false;
    return true;
  }

  take(): JobEvent | LostEvent | undefined {
    return this.#events.shift();
  }

  /** Resolves when there is something to take, or `stop` was called. */
  async arrival(): Promise<void> {
    if (this.#events.length > 0) return;
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
    this.#wake = undefined;
  }

  stop = (): void => this.#wake?.();
}

interface Followed {
  cursor: string;
  listeners: Set<Listener>;
  /** Milliseconds of the process's clock: when it is looked after the job, and after how much silence. */
  lookAt: number;
  quiet: number;
}

/**
 * Reads the streams of many jobs over one connection: one blocking read names them all, and an entry in a stream of
 * this process's own ends it when another job is to be followed.
 */
export class EventReader {
  readonly #reading: Redis;
  readonly #commands: Redis;
  readonly #keys: QueueKeys;
  readonly #wakeKey: string;
  readonly #followed = new Map<Hex, Followed>();
  #wakeCursor = "0";
  #isBlocked = false;
  #isRunning = false;
  #isClosed = false;
  #looking: NodeJS.Timeout | undefined;

  /** @param reading For this reader alone: it blocks. */
  constructor(reading: Redis, commands: Redis, keys: QueueKeys) {
    this.#reading = reading;
    this.#commands = commands;
    this.#keys = keys;
    this.#wakeKey = `${keys.prefix}:wake:${randomUUID()}`;
  }

  /** Jobs that somebody listens to. */
  get size(): number {
    return this.#followed.size;
  }

  /** Events of a job from piece `from` on. Ends after the job's end, or when the signal fires. */
  async *events(jobId: Hex, from: number, signal?: AbortSignal): AsyncGenerator<JobEvent | LostEvent> {
    const listener = new Listener(jobId, from);
    signal?.addEventListener("abort", listener.stop);
    this.#follow(listener);
    try {
      while (!signal?.aborted) {
        if (this.#isClosed) throw new QueueUnavailable("The queue was closed.");
        const event = listener.take();
        if (event) {
          yield event;
          if (event.type !== "lost" && isEnd(event)) return;
        } else if (listener.catchUp()) {
          this.#readAgain(jobId);
        } else {
          await listener.arrival();
        }
      }
    } finally {
      signal?.removeEventListener("abort", listener.stop);
      this.#leave(listener);
    }
  }

  close(): void {
    this.#isClosed = true;
    clearInterval(this.#looking);
    this.#reading.disconnect();
    for (const { listeners } of this.#followed.values()) for (const listener of listeners) listener.stop();
  }

  #follow(listener: Listener): void {
    const known = this.#followed.get(listener.jobId);
    if (known) {
      known.listeners.add(listener);
      this.#readAgain(listener.jobId);
      return;
    }
    const lookAt = performance.now() + QUIET;
    this.#followed.set(listener.jobId, { cursor: "0", listeners: new Set([listener]), lookAt, quiet: QUIET });
    this.#interrupt();
  }

  #leave(listener: Listener): void {
    const followed = this.#followed.get(listener.jobId);
    followed?.listeners.delete(listener);
    if (followed?.listeners.size === 0) this.#followed.delete(listener.jobId);
    if (this.#followed.size === 0) {
      clearInterval(this.#looking);
      this.#looking = undefined;
    }
  }

  #readAgain(jobId: Hex): void {
    const followed = this.#followed.get(jobId);
    if (followed) followed.cursor = "0";
    this.#interrupt();
  }

  #interrupt(): void {
    this.#looking ??= setInterval(() => void this.#look().catch(() => {}), QUIET / 2).unref();
    if (!this.#isRunning) {
      this.#isRunning = true;
      void this.#run();
    } else if (this.#isBlocked) {
      this.#isBlocked = false;
      this.#commands
        .pipeline()
        .xadd(this.#wakeKey, "MAXLEN", 1, "*", "w", "")
        .pexpire(this.#wakeKey, 10 * BLOCK)
        .exec()
        .catch(() => {});
    }
  }

  async #run(): Promise<void> {
    while (this.#followed.size > 0 && !this.#isClosed) {
      try {
        await this.#read();
      } catch {
        if (this.#isClosed) break;
        // Another Redis, or the same one with less in it: what was read of it says nothing of what it has now.
        this.#wakeCursor = "0";
        for (const followed of this.#followed.values()) followed.cursor = "0";
        await sleep(20);
      }
    }
    this.#isRunning = false;
  }

  async #read(): Promise<void> {
    const jobs = [...this.#followed];
    const keys = [this.#wakeKey, ...jobs.map(([jobId]) => this.#keys.events(jobId))];
    const cursors = [this.#wakeCursor, ...jobs.map(([, { cursor }]) => cursor)];
    const asked = new Map(jobs.map(([, followed], i) => [keys[i + 1], { followed, cursor: cursors[i + 1] }]));
    this.#isBlocked = true;
    // A connection that nobody answers on, and that nobody has closed either, is made anew.
    const watchdog = setTimeout(() => this.#reading.disconnect(true), 2 * BLOCK);
    const lost = Promise.withResolvers<never>();
    const onClose = () => lost.reject(new Error("The connection was lost."));
    // ioredis forgets an unanswered read when it is not to ask it again.
    this.#reading.once("close", onClose);
    const read = this.#reading.xread("COUNT", COUNT, "BLOCK", BLOCK, "STREAMS", ...keys, ...cursors);
    const reply = await Promise.race([read, lost.promise]).finally(() => {
      this.#isBlocked = false;
      this.#reading.off("close", onClose);
      clearTimeout(watchdog);
    });
    for (const [key, entries] of reply ?? []) {
      const newest = entries.at(-1)?.[0];
      if (!newest) continue;
      const answered = asked.get(key);
      if (!answered) {
        this.#wakeCursor = newest;
        continue;
      }
      const { followed, cursor } = answered;
      // If it was set back meanwhile, all of it comes again.
      if (followed.cursor === cursor) followed.cursor = newest;
      followed.quiet = QUIET;
      followed.lookAt = performance.now() + QUIET;
      for (const [, [, text]] of entries) {
        for (const event of JSON.parse(text) as JobEvent[]) {
          for (const listener of followed.listeners) listener.offer(event);
        }
      }
    }
  }

  /** Finds jobs of which nothing is heard because nobody works on them any more. */
  async #look(): Promise<void> {
    const now = performance.now();
    const quiet = [...this.#followed].filter(([, { lookAt }]) => lookAt <= now);
    if (quiet.length === 0) return;
    for (const [, followed] of quiet) {
      followed.quiet = Math.min(2 * followed.quiet, QUIET_LONG);
      followed.lookAt = now + followed.quiet;
    }
    const pipeline = this.#commands.pipeline();
    for (const [jobId] of quiet) pipeline.hmget(this.#keys.job(jobId), "timestamp", "finishedOn");
    const replies = (await pipeline.exec()) ?? [];
    quiet.forEach(([jobId, followed], i) => {
      const [error, fields] = replies[i];
      if (error) return;
      const [addedAt, finishedOn] = fields as (string | null)[];
      if (addedAt && !finishedOn) return;
      for (const listener of followed.listeners) listener.offer({ type: "lost" });
      this.#readAgain(jobId);
    });
  }
}
