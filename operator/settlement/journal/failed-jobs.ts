import type { JournalDatabase } from "./database.ts";

/**
 * What a request counts for at least: a page of the database. It bounds how many small ones have to make room for a
 * large one, and counts what a job takes beside its request.
 */
const LEAST_BYTES = 4_096;
/** Requests emptied in one write at most: more than the largest request (4 MiB) can call for. */
const EMPTIED_AT_ONCE = 2_048;

interface FailedRow {
  position: number;
  job: number;
  bytes: number;
  bytes_so_far: number;
  failed_at: number;
}

/**
 * Jobs that were given up. They cost their payer nothing, so that what is kept of them is bounded: their requests by
 * a total, the oldest going first, and all else in time.
 */
export class FailedJobs {
  readonly #database: JournalDatabase;

  constructor(database: JournalDatabase) {
    this.#database = database;
  }

  /** Notes that a job has failed. @param failedAt Seconds since 1970. */
  add(id: Uint8Array, failedAt: number): void {
    this.#database.run(
      `INSERT INTO failed_job (job, bytes, bytes_so_far, failed_at)
       SELECT position, max(length(request), ${LEAST_BYTES}), max(length(request), ${LEAST_BYTES})
         + coalesce((SELECT bytes_so_far FROM failed_job ORDER BY position DESC LIMIT 1), 0), ?
       FROM job WHERE id = ?`,
      failedAt,
      id,
    );
  }

  /** Bytes that the requests of failed jobs count for. */
  get requestBytes(): number {
    const oldest = this.#oldestRequest();
    return oldest ? this.#newest()!.bytes_so_far - oldest.bytes_so_far + oldest.bytes : 0;
  }

  /** Empties the oldest requests until no more than this is kept. */
  emptyRequests(most: number): void {
    for (let emptied = 0; emptied < EMPTIED_AT_ONCE && this.requestBytes > most; emptied++) {
      const { position, job } = this.#oldestRequest()!;
      this.#database.run("UPDATE job SET request = x'' WHERE position = ?", job);
      this.#database.run("UPDATE failed_job SET bytes = 0 WHERE position = ?", position);
    }
  }

  /**
   * Forgets the jobs that failed before some time; their vouchers have to have run out, or they would be let in again.
   *
   * @param before Seconds since 1970.
   * @returns How many were forgotten: with fewer than `limit`, nothing is left to forget.
   */
  forget(before: number, limit: number): number {
    const rows = this.#database.all<FailedRow>("SELECT * FROM failed_job ORDER BY position LIMIT ?", limit);
    const firstKept = rows.findIndex(({ failed_at }) => failed_at >= before);
    const old = firstKept < 0 ? rows : rows.slice(0, firstKept);
    for (const { position, job } of old) {
      this.#database.run("DELETE FROM failed_job WHERE position = ?", position);
      this.#database.run("DELETE FROM job WHERE position = ?", job);
    }
    return old.length;
  }

  #oldestRequest(): FailedRow | undefined {
    return this.#database.get("SELECT * FROM failed_job WHERE bytes > 0 ORDER BY position LIMIT 1");
  }

  #newest(): FailedRow | undefined {
    return this.#database.get("SELECT * FROM failed_job ORDER BY position DESC LIMIT 1");
  }
}
