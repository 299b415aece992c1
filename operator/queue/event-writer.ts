import { setTimeout as sleep } from "node:timers/promises";
import type { Redis } from "ioredis";
import type { Hex } from "../protocol/bytes.ts";
import type { AnswerPiece } from "../serving/served-job.ts";
import type { JobEvent } from "./job-events.ts";
import type { QueueKeys } from "./redis-connection.ts";

/** Milliseconds for which pieces are gathered, after one that was sent at once. */
const GATHER = 5;
/** Milliseconds after which a stream nobody writes to is gone: while its job runs, and after its end. */
const KEPT_RUNNING = 3_600_000;
const KEPT_ENDED = 600_000;
/** Entries of a stream at most, of one or more pieces each. Whoever falls behind further takes the journal's answer. */
const LENGTH = 16_384;

// An entry, and the stream's life from now on. ARGV milliseconds, then what XADD takes.
const APPEND = `
redis.call("XADD", KEYS[1], unpack(ARGV, 2))
return redis.call("PEXPIRE", KEYS[1], ARGV[1])
`;

interface Scripted extends Redis {
  streamAppend(...given: (string | number)[]): Promise<number>;
}

/**
 * Writes what a worker makes of one job to the job's stream in Redis. The first piece goes at once; those that come
 * within a few milliseconds of it travel together.
 *
 * All pieces are kept until the end, so that a Redis that has lost its data is given them again: readers skip what they
 * have.
 */
export class EventWriter {
  readonly #redis: Scripted;
  readonly #key: string;
  readonly #pieces: AnswerPiece[] = [];
  #written = 0;
  #nextAt = 0;
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> | undefined;

  constructor(redis: Redis, keys: QueueKeys, jobId: Hex) {
    if (!("streamAppend" in redis)) redis.defineCommand("streamAppend", { numberOfKeys: 1, lua: APPEND });
    this.#redis = redis as Scripted;
    this.#key = keys.events(jobId);
    redis.on("close", this.#onClose);
  }

  add(piece: AnswerPiece): void {
    this.#pieces.push(piece);
    if (this.#writing || this.#timer) return;
    const wait = this.#nextAt - performance.now();
    if (wait <= 0) this.#write();
    else this.#timer = setTimeout(() => this.#write(), wait);
  }

  /** Resolves when all pieces and this last event are in Redis. Nothing may be added afterwards. */
  async end(event: JobEvent): Promise<void> {
    clearTimeout(this.#timer);
    try {
      for (;;) {
        try {
          await this.#writing;
          if (this.#written < this.#pieces.length) await this.#writeAll();
          // A stream that was lost since then starts with this event; its readers take the answer from the journal.
          await this.#append([event], KEPT_ENDED);
          return;
        } catch (error) {
          if (this.#redis.status === "end") throw error;
          this.#written = 0;
          await sleep(GATHER);
        }
      }
    } finally {
      this.abandon();
    }
  }

  /** Nothing more is written. */
  abandon(): void {
    clearTimeout(this.#timer);
    this.#redis.off("close", this.#onClose);
  }

  #write(): void {
    this.#timer = undefined;
    this.#writing = this.#writeAll()
      .catch(() => {
        // The connection was closed for good. `end` will say so to whoever waits.
        this.#written = 0;
      })
      .finally(() => {
        this.#writing = undefined;
        this.#nextAt = performance.now() + GATHER;
        if (this.#written < this.#pieces.length && this.#redis.status !== "end") {
          this.#timer ??= setTimeout(() => this.#write(), GATHER);
        }
      });
  }

  async #writeAll(): Promise<void> {
    const from = this.#written;
    const pieces = this.#pieces.slice(from);
    this.#written = this.#pieces.length;
    const events = pieces.map((piece): JobEvent => ({ type: "piece", ...piece }));
    if (await this.#append(events, KEPT_RUNNING, from > 0)) return;
    this.#written = 0;
    await this.#writeAll();
  }

  /** @returns False when the stream should have existed and does not. */
  async #append(events: JobEvent[], kept: number, mustExist = false): Promise<boolean> {
    const entry = ["MAXLEN", "~", LENGTH, "*", "e", JSON.stringify(events)] as const;
    if (mustExist) return (await this.#redis.xadd(this.#key, "NOMKSTREAM", ...entry)) !== null;
    await this.#redis.streamAppend(this.#key, kept, ...entry);
    return true;
  }

  // What Redis had when it went away need not be what it has when it is back.
  readonly #onClose = () => {
    this.#written = 0;
  };
}
