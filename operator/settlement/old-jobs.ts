import type { Journal } from "./journal/journal.ts";

export interface OldJobsOptions {
  journal: Journal;
  /** Seconds after which requests, answers and traces of final batches are emptied; without it, they stay. */
  keepAnswersFor?: number;
  /** Seconds after which a job that failed is forgotten; its voucher has to have run out by then. */
  keepFailedFor: number;
}

/** Jobs in one write. */
const AT_ONCE = 500;
/** Writes in one round: others want the journal too. */
const WRITES = 20;

/** Takes out of the journal what nobody needs any more. */
export class OldJobs {
  readonly #options: OldJobsOptions;
  /** Position up to where answers are emptied, as far as this process knows. */
  #emptied = 0;

  constructor(options: OldJobsOptions) {
    this.#options = options;
  }

  /** @param now Seconds since 1970. @param finalSequence Newest batch that is final. */
  emptyAnswers(now: number, finalSequence: number): void {
    const { journal, keepAnswersFor } = this.#options;
    if (keepAnswersFor === undefined) return;
    for (;;) {
      const before = now - keepAnswersFor;
      const last = journal.transaction(() => journal.prune(this.#emptied, finalSequence, before, AT_ONCE));
      if (last === undefined) return;
      this.#emptied = last;
    }
  }

  /** @param now Seconds since 1970. */
  forgetFailed(now: number): void {
    const { journal, keepFailedFor } = this.#options;
    for (let write = 0; write < WRITES; write++) {
      if (journal.transaction(() => journal.forgetFailed(now - keepFailedFor, AT_ONCE)) < AT_ONCE) return;
    }
  }
}
