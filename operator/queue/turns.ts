import type { Redis } from "ioredis";
import type { Hex } from "../protocol/bytes.ts";
import { QueueLimitReached } from "./errors.ts";
import type { QueueKeys } from "./redis-connection.ts";

/** What one payer may ask of this operator. */
export interface QueueLimits {
  /** Jobs that have not ended. Default 64. */
  jobsInFlight?: number;
  /** Requests a second over a longer time, and how many may come at once. Default 50 and 100. */
  requestsPerSecond?: number;
  burst?: number;
}

/** Its place in the order in which jobs are taken: BullMQ's priority, lower first, and the round that it counts in. */
export interface Turn {
  round: number;
  at: number;
}

/** BullMQ's highest priority. */
const LAST_TURN = 2 ** 21;
/** Turns after which counting begins again, as soon as nothing waits. */
const ROUND = 2 ** 20;
/** Milliseconds after which a job is no longer counted, whatever became of it: vouchers do not live longer. */
const FORGOTTEN_AFTER = 3_600_000;

// The payer's limits, and nothing else: ARGV job, limits (or 0), cap, milliseconds a request, burst, write.
// The rate is the generic cell rate algorithm (ITU-T I.371): one number a payer, the time at which it is quiet again.
const LIMITS = `
local time = redis.call("TIME")
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call("ZREMRANGEBYSCORE", KEYS[1], "-inf", now)
if ARGV[2] == "1" and not redis.call("ZSCORE", KEYS[1], ARGV[1]) then
  if redis.call("ZCARD", KEYS[1]) >= tonumber(ARGV[3]) then return {"jobsInFlight", 1000} end
  local each, burst = tonumber(ARGV[4]), tonumber(ARGV[5])
  local quiet = math.max(tonumber(redis.call("GET", KEYS[2]) or 0), now)
  local wait = quiet - (burst - 1) * each - now
  if wait > 0 then return {"requestRate", math.ceil(wait)} end
  if ARGV[6] == "1" then redis.call("SET", KEYS[2], quiet + each, "PX", math.ceil(quiet + each - now)) end
end
`;

const CHECK = `${LIMITS} return {"ok"}`;

const ENTER = `${LIMITS}
local forget = now + tonumber(ARGV[7])
redis.call("ZREMRANGEBYSCORE", KEYS[5], "-inf", now)
local state = redis.call("HMGET", KEYS[3], "round", "now")
local round, virtual = tonumber(state[1] or 0), tonumber(state[2] or 0)
if virtual > tonumber(ARGV[8]) and redis.call("ZCARD", KEYS[5]) == 0 then
  round, virtual = round + 1, 0
  redis.call("HSET", KEYS[3], "round", round, "now", 0)
end
-- BullMQ keeps what has ended and adds none of it again: nobody would say that it leaves.
if redis.call("HEXISTS", KEYS[6], "finishedOn") == 1 then return {"ok", round, virtual} end
local last = redis.call("HMGET", KEYS[4], "round", "at")
local own = tonumber(last[1] or -1) == round and tonumber(last[2]) or 0
local at = math.min(math.max(virtual, own) + 1, tonumber(ARGV[9]))
redis.call("HSET", KEYS[4], "round", round, "at", at)
redis.call("PEXPIRE", KEYS[4], ARGV[7])
redis.call("ZADD", KEYS[1], forget, ARGV[1])
redis.call("PEXPIRE", KEYS[1], ARGV[7])
redis.call("ZADD", KEYS[5], forget, ARGV[1])
return {"ok", round, at}
`;

// A worker has taken the job. ARGV job, round, at. Says whether its client has left meanwhile.
const TAKE = `
redis.call("ZREM", KEYS[2], ARGV[1])
local state = redis.call("HMGET", KEYS[1], "round", "now")
if tonumber(state[1] or 0) == tonumber(ARGV[2]) and tonumber(ARGV[3]) > tonumber(state[2] or 0) then
  redis.call("HSET", KEYS[1], "round", ARGV[2], "now", ARGV[3])
end
return redis.call("EXISTS", KEYS[3])
`;

// The job has ended. ARGV job.
const LEAVE = `
redis.call("ZREM", KEYS[1], ARGV[1])
return redis.call("ZREM", KEYS[2], ARGV[1])
`;

type Reply = ["ok", number, number] | [QueueLimitReached["code"], number];

interface Scripted extends Redis {
  turnsCheck(...given: (string | number)[]): Promise<Reply>;
  turnsEnter(...given: (string | number)[]): Promise<Reply>;
  turnsTake(...given: (string | number)[]): Promise<0 | 1>;
  turnsLeave(...given: string[]): Promise<number>;
}

/**
 * In whose turn jobs are taken, and how many a payer may have.
 *
 * Start-time fair queueing (Goyal, Vin, Cheng 1996): a job's turn is one after its payer's last, or one after that of
 * the job taken last, whichever is later. So a payer's second job waits for everybody's first, and no job waits for
 * ever, whoever comes after it. Jobs in flight are sets of ids that run out, not counters: a process that is killed
 * leaves nothing behind that would have to be put right.
 */
export class Turns {
  readonly #redis: Scripted;
  readonly #keys: QueueKeys;
  readonly #limits: Required<QueueLimits>;

  constructor(redis: Redis, keys: QueueKeys, limits: QueueLimits = {}) {
    redis.defineCommand("turnsCheck", { numberOfKeys: 2, lua: CHECK });
    redis.defineCommand("turnsEnter", { numberOfKeys: 6, lua: ENTER });
    redis.defineCommand("turnsTake", { numberOfKeys: 3, lua: TAKE });
    redis.defineCommand("turnsLeave", { numberOfKeys: 2, lua: LEAVE });
    this.#redis = redis as Scripted;
    this.#keys = keys;
    this.#limits = { jobsInFlight: 64, requestsPerSecond: 50, burst: 100, ...limits };
  }

  /** @throws {QueueLimitReached} When the payer's next job would be refused now. Nothing is counted. */
  async check(payer: number): Promise<void> {
    const { inFlight, rate } = this.#keys;
    const reply = await this.#redis.turnsCheck(inFlight(payer), rate(payer), "", ...this.#given(true), 0);
    this.#turnOf(reply, payer);
  }

  /**
   * Counts a job and gives it its turn.
   *
   * @param isLimited False for a job that was let in before.
   * @throws {QueueLimitReached} The job was not counted.
   */
  async enter(jobId: Hex, payer: number, isLimited: boolean): Promise<Turn> {
    const { inFlight, rate, time, turn, waiting, job } = this.#keys;
    const keys = [inFlight(payer), rate(payer), time, turn(payer), waiting, job(jobId)];
    const numbers = [...this.#given(isLimited), 1, FORGOTTEN_AFTER, ROUND, LAST_TURN];
    return this.#turnOf(await this.#redis.turnsEnter(...keys, jobId, ...numbers), payer);
  }

  /** @returns Whether the job's client has left. */
  async take(jobId: Hex, { round, at }: Turn): Promise<boolean> {
    const { time, waiting, cancelled } = this.#keys;
    return (await this.#redis.turnsTake(time, waiting, cancelled(jobId), jobId, round, at)) === 1;
  }

  /** The job has ended. */
  async leave(jobId: Hex, payer: number): Promise<void> {
    await this.#redis.turnsLeave(this.#keys.inFlight(payer), this.#keys.waiting, jobId);
  }

  #given(isLimited: boolean): number[] {
    const { jobsInFlight, requestsPerSecond, burst } = this.#limits;
    return [isLimited ? 1 : 0, jobsInFlight, 1_000 / requestsPerSecond, burst];
  }

  #turnOf(reply: Reply, payer: number): Turn {
    if (reply[0] === "ok") return { round: reply[1], at: reply[2] };
    const [code, milliseconds] = reply;
    const { jobsInFlight, requestsPerSecond } = this.#limits;
    const what =
      code === "jobsInFlight"
        ? `has ${jobsInFlight} jobs in flight, as many as it may`
        : `asks more than ${requestsPerSecond} times a second`;
    throw new QueueLimitReached(code, `Channel ${payer} ${what}.`, milliseconds / 1_000);
  }
}
