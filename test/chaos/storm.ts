import { setTimeout as sleep } from "node:timers/promises";
import { type Random, seedFrom, uniform, xorshift32 } from "../../scripts/bench/random.ts";
import type { ChaosWorld } from "./chaos-world.ts";
import { type Reckoning, reckon } from "./reckoning.ts";
import type { Supervised } from "./supervised.ts";
import { Weather } from "./weather.ts";

export interface StormOptions {
  kills: number;
  seed: number;
  /** Minutes after which no more is killed, however many were. */
  minutes: number;
  /** Questions of one customer at once. */
  lanes?: number;
  say?: (line: string) => void;
}

export interface StormReport extends Reckoning {
  kills: Record<string, number>;
  /** Times that Redis forgot everything, and answers of the chain that were lost. */
  flushes: number;
  lostCalls: number;
  /** Times that the node's clock jumped by up to ten minutes, that its disk was full, and that the chain lost blocks. */
  jumps: number;
  fullDisks: number;
  reorgs: number;
  leavers: number;
  asksAgain: number;
  troubles: Record<string, number>;
  seconds: number;
  /** What each process said last. */
  logs: string[];
}

/** Seconds that all processes together take to start on a quiet machine with two cores. */
const USUAL_START = 6;
const SLOWEST = 4;
/** Milliseconds that a kill waits at most for somebody to be answered. */
const PROGRESS = 30_000;
const RESTARTED = ["gateway", "worker", "settler"] as const;

/**
 * Lets customers ask and pay while at random moments gateway, workers, settler or Redis are killed, Redis forgets all
 * that it has, answers of the chain and whole blocks get lost, the disk is full and the clock jumps. Then lets everything
 * come to rest, and reckons.
 */
export async function storm(world: ChaosWorld, options: StormOptions): Promise<StormReport> {
  const { kills: wanted, seed, minutes, lanes = 3, say = () => {} } = options;
  const started = Date.now();
  const random = xorshift32(seedFrom("storm", seed));
  const nodes: Record<string, Supervised[]> = {
    settler: [world.start("settler")],
    worker: [world.start("worker"), world.start("worker")],
    gateway: [world.start("gateway")],
  };
  const all = Object.values(nodes).flat();
  await Promise.all(all.map((node) => node.ready()));
  const readySeconds = (Date.now() - started) / 1_000;
  say(`ready after ${Math.round(readySeconds)} s`);
  // On a slow machine kills come more slowly, or nothing would ever be up; and no more slowly than this, or it never ends.
  const pace = Math.min(SLOWEST, Math.max(1, readySeconds / USUAL_START));

  let isOver = false;
  const asking = world.customers.flatMap((customer, i) =>
    Array.from({ length: lanes }, async (_, lane) => {
      const dice = xorshift32(seedFrom(`${i} ${lane}`, seed));
      for (let n = 0; !isOver && !customer.hasLeft; n++) {
        const leaves = uniform(dice) < 0.1;
        const isStream = leaves || uniform(dice) < 0.5;
        await customer.ask(`Question ${n} of lane ${lane}, customer ${i}?`, { isStream, leaves });
        await sleep(150 * uniform(dice));
      }
    }),
  );
  const calls = xorshift32(seedFrom("calls", seed));
  world.door.fate = (methods) => {
    const isSending = methods.includes("eth_sendRawTransaction");
    return uniform(calls) < (isSending ? 0.25 : 0.01) ? "lost" : "answered";
  };

  const deadline = started + minutes * 60_000;
  const kills: Record<string, number> = { gateway: 0, worker: 0, settler: 0, redis: 0 };
  let flushes = 0;
  const weather = new Weather(world, xorshift32(seedFrom("weather", seed)));
  for (let count = 0; count < wanted && Date.now() < deadline && !world.customers.some(({ fatal }) => fatal); ) {
    await sleep(pace * (100 + 1_900 * uniform(random)));
    if (uniform(random) < 0.5) await somebodyIsAnswered(world);
    await weather.change();
    const victim = pick(random, [...RESTARTED, "redis"]);
    if (victim === "redis") {
      await world.redis.kill();
      await sleep(500 * uniform(random));
      await world.redis.revive();
      if (uniform(random) < 0.2) {
        flushes++;
        await world.redis.flush();
      }
    } else if (!(await strike(nodes[victim], random))) continue;
    kills[victim]++;
    count++;
    if (count % 20 === 0) say(`${count} kills, ${progress(world)}`);
  }
  await weather.clear();
  world.door.fate = () => "answered";
  isOver = true;
  say(`the storm is over: ${progress(world)}`);
  await Promise.race([Promise.all(asking), sleep(180_000, undefined, { ref: false })]);
  const reckoning = await reckon(world, Date.now() + 180_000);
  for (const { unexpected } of all) {
    for (const { role, code, wasReady, lastWords } of unexpected) {
      // What is started while Redis or the chain is away, or the disk is full, may say so and end.
      if (wasReady || !/No Redis answers|No chain answers|No room for|Writing \S+ failed/.test(lastWords)) {
        reckoning.wrong.push(`The ${role} ended by itself with code ${code}: ${lastWords}`);
      }
    }
  }
  for (const [what, count] of Object.entries(troubles(world))) {
    if (what.startsWith("refused")) reckoning.wrong.push(`Vouchers were refused ${count} times: ${what}.`);
  }
  const asked = world.customers.flatMap((customer) => customer.asked);
  return {
    ...reckoning,
    kills,
    flushes,
    lostCalls: world.door.lost,
    ...weather.counts,
    leavers: asked.filter(({ leaves }) => leaves).length,
    asksAgain: asked.reduce((sum, { again }) => sum + again, 0),
    troubles: troubles(world),
    seconds: Math.round((Date.now() - started) / 1_000),
    logs: all.map(({ role, log }) => `${role}: ${log.slice(-6_000)}`),
  };
}

/** Half of the kills strike what serves again: on a slow machine they would otherwise only strike what is starting. */
async function somebodyIsAnswered(world: ChaosWorld): Promise<void> {
  const before = answered(world);
  const until = Date.now() + PROGRESS;
  while (answered(world) === before && Date.now() < until) await sleep(50);
}

/** Kills one of a role that is ready; one in five times, one that is only starting. */
async function strike(nodes: readonly Supervised[], random: Random): Promise<boolean> {
  const node = pick(random, nodes);
  if (!node.isReady && uniform(random) > 0.2) return false;
  return node.kill();
}

function pick<T>(random: Random, list: readonly T[]): T {
  return list[Math.floor(uniform(random) * list.length)];
}

function progress(world: ChaosWorld): string {
  const asked = world.customers.reduce((sum, customer) => sum + customer.asked.length, 0);
  return `${answered(world)} of ${asked} questions answered`;
}

function answered({ customers }: ChaosWorld): number {
  return customers.flatMap(({ asked }) => asked).filter(({ answer }) => answer !== undefined).length;
}

function troubles({ customers }: ChaosWorld): Record<string, number> {
  const all: Record<string, number> = {};
  for (const [what, count] of customers.flatMap((customer) => [...customer.troubles])) {
    all[what] = (all[what] ?? 0) + count;
  }
  return all;
}
