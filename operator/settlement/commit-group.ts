import type { Books } from "./books.ts";
import { JournalError } from "./errors.ts";
import type { Journal } from "./journal/journal.ts";

interface Waiting {
  /** Does its part, and gives what settles its promise once the group is on the disk. */
  work: () => () => void;
  reject: (error: unknown) => void;
}

/** Writes in one transaction at most: others wait no longer than this many take. */
const GROUP = 128;

/**
 * Writes that wait for the disk together: whatever has come in while the last group was being written shares the next
 * one's synchronisation. Each write can fail alone; when the disk fails, all of the group do, and the books are as
 * before.
 */
export class CommitGroup {
  readonly #journal: Journal;
  readonly #books: Books;
  #waiting: Waiting[] = [];
  #isScheduled = false;

  constructor(journal: Journal, books: Books) {
    this.#journal = journal;
    this.#books = books;
  }

  /** Does some writing in its turn; settles once it is on the disk. */
  add<T>(work: () => T): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    const deferred = () => {
      const value = work();
      return () => resolve(value);
    };
    this.#waiting.push({ work: deferred, reject });
    this.#schedule();
    return promise;
  }

  #schedule(): void {
    if (this.#isScheduled || this.#waiting.length === 0) return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      this.#write(this.#waiting.splice(0, GROUP));
      this.#schedule();
    });
  }

  #write(group: Waiting[]): void {
    const settle: (() => void)[] = [];
    const mark = this.#books.mark();
    try {
      this.#journal.transaction(() => {
        for (const waiting of group) settle.push(this.#alone(waiting));
      });
      mark.keep();
    } catch (error) {
      mark.restore();
      for (const { reject } of group) reject(error);
      return;
    }
    for (const done of settle) done();
  }

  /** @throws {JournalError} When the whole group has failed with this write. */
  #alone({ work, reject }: Waiting): () => void {
    const mark = this.#books.mark();
    try {
      const done = this.#journal.part(work);
      mark.keep();
      return done;
    } catch (error) {
      mark.restore();
      if (error instanceof JournalError || !this.#journal.isWriting) throw error;
      return () => reject(error);
    }
  }
}
