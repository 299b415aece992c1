import { ApiError, unavailable } from "./api-error.ts";

/** Counts who is being answered, so that neither one channel nor all of them together ask more than there is room for. */
export class RequestSlots {
  readonly #most: number;
  readonly #mostOfOne: number;
  readonly #ofChannel = new Map<number, number>();
  #all = 0;

  constructor(most: number, mostOfOne: number) {
    this.#most = most;
    this.#mostOfOne = mostOfOne;
  }

  /** Requests being answered. */
  get taken(): number {
    return this.#all;
  }

  /**
   * Takes a place among all; call what is returned to give it back.
   *
   * @throws {ApiError} 503 when there is none.
   */
  enter(): () => void {
    if (this.#all >= this.#most) throw unavailable("This node is busy. Try again soon.", "overloaded");
    this.#all++;
    return once(() => {
      this.#all--;
    });
  }

  /**
   * Looks whether a channel has a place. Nothing is counted: whoever names a channel need not be its payer.
   *
   * @throws {ApiError} 429 when there is none.
   */
  checkChannel(channel: number): void {
    const taken = this.#ofChannel.get(channel) ?? 0;
    if (taken < this.#mostOfOne) return;
    const message = `Channel ${channel} has ${taken} requests in flight, which is the most. Wait for one to end.`;
    throw new ApiError(429, message, { code: "rate_limit_exceeded", headers: { "retry-after": "1" } });
  }

  /**
   * Takes one of a channel's places, for whoever has shown to be its payer.
   *
   * @throws {ApiError} 429 when there is none.
   */
  enterChannel(channel: number): () => void {
    this.checkChannel(channel);
    this.#ofChannel.set(channel, (this.#ofChannel.get(channel) ?? 0) + 1);
    return once(() => {
      const left = this.#ofChannel.get(channel)! - 1;
      if (left === 0) this.#ofChannel.delete(channel);
      else this.#ofChannel.set(channel, left);
    });
  }
}

function once(work: () => void): () => void {
  let isDone = false;
  return () => {
    if (!isDone) work();
    isDone = true;
  };
}
