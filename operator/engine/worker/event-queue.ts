/** Events from a producer that does not wait to one consumer that does. A failure overtakes what is queued. */
export class EventQueue<T> implements AsyncIterable<T> {
  private readonly queued: T[] = [];
  private ended = false;
  private error: Error | undefined;
  private wake: () => void = () => {};

  push(event: T): void {
    this.queued.push(event);
    this.wake();
  }

  /** No more will come. */
  finish(): void {
    this.ended = true;
    this.wake();
  }

  /** The consumer gets `error` next. */
  fail(error: Error): void {
    if (this.ended) return;
    this.error = error;
    this.wake();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T, void, undefined> {
    for (;;) {
      if (this.error !== undefined) throw this.error;
      const event = this.queued.shift();
      if (event !== undefined) yield event;
      else if (this.ended) return;
      else {
        await new Promise<void>((resolve) => {
          this.wake = resolve;
        });
      }
    }
  }
}
