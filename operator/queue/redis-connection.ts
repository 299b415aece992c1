import { Redis, type RedisOptions } from "ioredis";

/** What everything in this folder calls its queue in BullMQ. */
export const QUEUE_NAME = "jobs";

export const DEFAULT_PREFIX = "openledger";

/**
 * A connection that comes back by itself, soon after Redis does. Its commands wait meanwhile, however long: whoever
 * cannot wait bounds the time.
 */
export function connectRedis(url: string, options: RedisOptions = {}): Redis {
  const redis = new Redis(url, {
    maxRetriesPerRequest: null,
    retryStrategy: (times) => Math.min(50 * 2 ** Math.min(times - 1, 5), 1_000),
    ...options,
  });
  redis.on("connect", () => gatherWrites(redis.stream));
  // Each attempt to reconnect is an error event; without a listener it would end the process.
  redis.on("error", () => {});
  // Every running job listens for the end of its connection.
  redis.setMaxListeners(0);
  return redis;
}

/**
 * Lets all that one turn of the event loop says to Redis go in one write: commands, answers and their order stay as they
 * are, and hundreds of jobs at once do not cost a system call for each command.
 */
function gatherWrites(stream: Redis["stream"]): void {
  const write = stream.write;
  let isGathering = false;
  const release = () => {
    isGathering = false;
    stream.uncork();
  };
  stream.write = ((...given: Parameters<typeof write>) => {
    if (!isGathering) {
      isGathering = true;
      stream.cork();
      setImmediate(release);
    }
    return write.apply(stream, given);
  }) as typeof write;
}

/**
 * A connection for BullMQ, which makes copies of it for commands that block, and leaves them behind when it is closed
 * while Redis is away.
 */
export function connectForBullMq(url: string): { redis: Redis; disconnect: () => void } {
  const redis = connectRedis(url);
  const all = [redis];
  const duplicate = redis.duplicate.bind(redis);
  redis.duplicate = (options) => {
    const copy = duplicate(options);
    copy.on("connect", () => gatherWrites(copy.stream));
    copy.on("error", () => {});
    all.push(copy);
    return copy;
  };
  const disconnect = () => {
    for (const connection of all) connection.disconnect();
  };
  return { redis, disconnect };
}

/**
 * What is wrong with the settings of a Redis that has to keep jobs, in sentences for the operator.
 *
 * The journal keeps every accepted job, so that none is lost either way. But evicted keys confuse the queue, and
 * without an append-only file each restart of Redis starts every waiting job anew.
 */
export async function durabilityWarnings(redis: Redis): Promise<string[]> {
  const info = await redis.info();
  const policy = /^maxmemory_policy:(\S+)/m.exec(info)?.[1];
  const warnings: string[] = [];
  if (policy && policy !== "noeviction") {
    warnings.push(`Redis may drop jobs when memory is short: set maxmemory-policy to noeviction (it is ${policy}).`);
  }
  if (/^aof_enabled:0/m.test(info)) {
    warnings.push("Redis forgets its jobs when it restarts: set appendonly to yes.");
  }
  return warnings;
}

/** Names of the keys beside BullMQ's own. */
export class QueueKeys {
  readonly prefix: string;
  /** Virtual time: hash of `round` and `now`. */
  readonly time: string;
  /** Jobs that no worker has taken yet, by the millisecond at which they are forgotten. */
  readonly waiting: string;
  /** BullMQ's jobs that wait for a time, by it. */
  readonly delayed: string;
  /** Channel of Redis on which cancelled jobs are told. */
  readonly cancellations: string;

  constructor(prefix: string) {
    this.prefix = prefix;
    this.time = `${prefix}:turns`;
    this.waiting = `${prefix}:waiting`;
    this.delayed = `${prefix}:${QUEUE_NAME}:delayed`;
    this.cancellations = `${prefix}:cancelled`;
  }

  events = (jobId: string) => `${this.prefix}:events:${jobId}`;
  cancelled = (jobId: string) => `${this.prefix}:cancelled:${jobId}`;
  /** Jobs of a payer that have not ended, by the millisecond at which they are forgotten. */
  inFlight = (payer: number) => `${this.prefix}:inflight:${payer}`;
  rate = (payer: number) => `${this.prefix}:rate:${payer}`;
  /** The last turn given to a payer. */
  turn = (payer: number) => `${this.prefix}:turn:${payer}`;
  /** BullMQ's hash of a job. */
  job = (jobId: string) => `${this.prefix}:${QUEUE_NAME}:${jobId}`;
}
