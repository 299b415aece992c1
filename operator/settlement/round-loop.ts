import { setTimeout as sleep } from "node:timers/promises";

export interface RoundLoopOptions {
  /** One piece of work; the next begins an interval after its end. */
  round: () => Promise<void>;
  /** Milliseconds between rounds. */
  interval: number;
  /** Milliseconds that a pause may grow to while rounds fail. Default 5 minutes. */
  longestPause?: number;
  /** Milliseconds without a success after which the alarm is given, whatever the rounds say. Default 30 minutes. */
  alarmAfter?: number;
  /** Called for each round that failed; the loop goes on. */
  onError?: (error: Error, failures: number) => void;
}

/** How a loop goes. Times are milliseconds since 1970. */
export interface LoopHealth {
  isRunning: boolean;
  lastSuccess: number | undefined;
  lastError: string | undefined;
  /** Rounds that failed since one went well. */
  failures: number;
  alarm: boolean;
}

/**
 * Does a round again and again until it is stopped. A round that fails makes the pauses longer and never ends the loop;
 * one that neither ends nor fails gives the alarm as well, since that looks at the last success alone.
 */
export class RoundLoop {
  readonly #options: Required<RoundLoopOptions>;
  readonly #stop = new AbortController();
  #running: Promise<void> | undefined;
  /** Of the start, or of the last success; not by the machine's clock, which may be set. */
  #quietSince = performance.now();
  #lastSuccess: number | undefined;
  #lastError: string | undefined;
  #failures = 0;

  constructor(options: RoundLoopOptions) {
    this.#options = { longestPause: 300_000, alarmAfter: 1_800_000, onError: () => undefined, ...options };
  }

  /** Begins; a second call changes nothing. */
  start(): void {
    if (this.#running) return;
    this.#quietSince = performance.now();
    this.#running = this.#run();
  }

  /** Lets the round in hand come to its end, and begins no other. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  health(): LoopHealth {
    const isRunning = this.#running !== undefined && !this.#stop.signal.aborted;
    const alarm = isRunning && performance.now() - this.#quietSince > this.#options.alarmAfter;
    const { lastSuccess, lastError, failures } = {
      lastSuccess: this.#lastSuccess,
      lastError: this.#lastError,
      failures: this.#failures,
    };
    return { isRunning, lastSuccess, lastError, failures, alarm };
  }

  async #run(): Promise<void> {
    const { round, interval, longestPause, onError } = this.#options;
    const { signal } = this.#stop;
    while (!signal.aborted) {
      try {
        await round();
        this.#lastSuccess = Date.now();
        this.#quietSince = performance.now();
        this.#lastError = undefined;
        this.#failures = 0;
      } catch (error) {
        this.#failures++;
        this.#lastError = (error as Error).message;
        onError(error as Error, this.#failures);
      }
      const pause = interval * 2 ** Math.min(this.#failures, 20);
      await sleep(Math.max(interval, Math.min(pause, longestPause)), undefined, { signal }).catch(() => undefined);
    }
  }
}
