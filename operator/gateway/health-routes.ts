import { setTimeout as sleep } from "node:timers/promises";
import type { Hex } from "../protocol/bytes.ts";
import type { Gateway } from "./gateway.ts";
import type { NodeReport } from "./gateway-options.ts";

interface Check {
  ok: boolean;
  /** What is wrong. */
  problem?: string;
}

export interface HealthBody {
  status: "ready" | "not ready";
  checks: { mirror: Check; sequencer: Check; queue: Check; gateway: Check };
  /** Sentences about what somebody has to look at. They do not keep the node from answering. */
  alarms: readonly string[];
  /** Seconds since the last round of settling in which nothing failed; null where nobody settles or none has ended. */
  settlement_age_seconds: number | null;
}

const NO_JOB: Hex = `0x${"0".repeat(64)}`;
/** Milliseconds that a part may take to answer, and that an answer is good for. */
const PATIENCE = 2_000;
const KEPT = 1_000;

/** Asks the parts how they are; however often it is asked, they are asked once in a second. */
export class HealthCheck {
  readonly #gateway: Gateway;
  #last: { at: number; health: Promise<HealthBody> } | undefined;

  constructor(gateway: Gateway) {
    this.#gateway = gateway;
  }

  read(): Promise<HealthBody> {
    // Not the machine's clock: set back, it would keep an answer until it has caught up.
    const now = performance.now();
    if (!this.#last || now - this.#last.at > KEPT) this.#last = { at: now, health: this.#look() };
    return this.#last.health;
  }

  async #look(): Promise<HealthBody> {
    const { options, limits, isDraining } = this.#gateway;
    const { registry, sequencer, queue, report } = options;
    const lastLook = registry.health().lastSuccess;
    const age = lastLook === undefined ? -1 : Date.now() - lastLook;
    // Less than none after the clock was set back: the next look will tell.
    const isFresh = age >= 0 && age <= limits.mirrorAgeMs;
    const [books, jobs, node] = await Promise.all([
      answers(() => sequencer.job(NO_JOB), "the sequencer does not answer"),
      answers(() => queue.counts(), "the queue does not answer"),
      (async () => report?.())().catch((error: Error): NodeReport => ({ alarms: [error.message] })),
    ]);
    const checks = {
      mirror: isFresh ? { ok: true } : { ok: false, problem: "the registries' copy is old" },
      sequencer: books,
      queue: jobs,
      gateway: isDraining ? { ok: false, problem: "shutting down" } : { ok: true },
    };
    const settled = node?.lastSettlement;
    return {
      status: Object.values(checks).every(({ ok }) => ok) ? "ready" : "not ready",
      checks,
      alarms: node?.alarms ?? [],
      settlement_age_seconds: settled === undefined ? null : Math.max(0, Math.floor(Date.now() / 1_000) - settled),
    };
  }
}

async function answers(ask: () => Promise<unknown>, problem: string): Promise<Check> {
  const timer = new AbortController();
  const late = sleep(PATIENCE, undefined, { signal: timer.signal }).then(() => Promise.reject(new Error(problem)));
  late.catch(() => undefined);
  try {
    await Promise.race([ask(), late]);
    return { ok: true };
  } catch {
    return { ok: false, problem };
  } finally {
    timer.abort();
  }
}
