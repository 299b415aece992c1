import { setTimeout as sleep } from "node:timers/promises";
import { line } from "./print.ts";

/** Seconds of silence after which a wait says that it goes on. */
const NEWS_EVERY = 10;

/**
 * Waits until something is so, and says so now and then.
 *
 * @param what What is waited for, as the end of a sentence: "the batch is on the chain".
 * @param look Gives undefined while it is not so.
 * @throws Error that says what was waited for.
 */
export async function waitFor<T>(what: string, look: () => Promise<T | undefined>, timeout = 120): Promise<T> {
  const started = performance.now();
  for (let news = NEWS_EVERY; ; ) {
    const found = await look();
    if (found !== undefined) return found;
    const waited = (performance.now() - started) / 1_000;
    if (waited > timeout) throw new Error(`Waited ${timeout} s in vain until ${what}.`);
    if (waited > news) {
      line(`... waiting until ${what} (${Math.round(waited)} s)`);
      news += NEWS_EVERY;
    }
    await sleep(150);
  }
}
