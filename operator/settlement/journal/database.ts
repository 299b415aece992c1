import { DatabaseSync, type StatementSync } from "node:sqlite";
import { JournalError, SettlementError } from "../errors.ts";
import { diskErrorOf } from "./disk-error.ts";

export interface DatabaseOptions {
  file: string;
  /** Bytes that the database may grow to; without it, what the disk holds. */
  maxBytes?: number;
}

export type SqlValue = Uint8Array | number | bigint | string;

const PAGE_BYTES = 4_096;
/**
 * Pages of the log after which it is written into the database. Indices by hash touch some pages again and again: the
 * longer the log, the more often one writing of a page stands for many. 16 MiB are read again within 0.1 s at the start.
 */
const CHECKPOINT_PAGES = 4_096;
/** KiB of pages kept in memory: the upper levels of the indices, and whatever is in flight. */
const CACHE_KIBIBYTES = 16_384;

/**
 * The journal's file: SQLite with a write-ahead log that is synchronised before a transaction counts. Statements are
 * prepared once; what the disk refuses is a {@link JournalError}.
 */
export class JournalDatabase {
  readonly file: string;
  readonly #database: DatabaseSync;
  readonly #prepared = new Map<string, StatementSync>();
  #writeError: string | undefined;
  #hasWritten = false;

  constructor({ file, maxBytes }: DatabaseOptions) {
    this.file = file;
    this.#database = new DatabaseSync(file, { timeout: 5_000 });
    try {
      const limit = maxBytes === undefined ? "" : `PRAGMA max_page_count = ${pagesIn(maxBytes)};`;
      this.#database.exec(`PRAGMA page_size = ${PAGE_BYTES}; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
        PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -${CACHE_KIBIBYTES};
        PRAGMA wal_autocheckpoint = ${CHECKPOINT_PAGES}; ${limit}`);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** For the making of the tables. */
  get raw(): DatabaseSync {
    return this.#database;
  }

  get isOpen(): boolean {
    return this.#database.isOpen;
  }

  /** Closing twice is no error. */
  close(): void {
    this.#prepared.clear();
    if (this.#database.isOpen) this.#database.close();
  }

  /**
   * Does some writing as one: all of it is on the disk when this returns, or none of it is when this throws.
   *
   * @throws {JournalError} `full` or `failed` when the disk would not take it.
   */
  transaction<T>(work: () => T): T {
    this.#hasWritten = false;
    const result = this.#within("BEGIN IMMEDIATE", "COMMIT", ["ROLLBACK"], work);
    if (this.#hasWritten) this.#writeError = undefined;
    return result;
  }

  /** Why the last write failed; undefined once one has gone well again. */
  get writeError(): string | undefined {
    return this.#writeError;
  }

  /** Does a part of a transaction's writing so that it can fail alone. Whether the whole still stands: `isWriting`. */
  part<T>(work: () => T): T {
    return this.#within("SAVEPOINT part", "RELEASE part", ["ROLLBACK TO part", "RELEASE part"], work);
  }

  /** Whether a transaction is under way; a disk error may have ended it. */
  get isWriting(): boolean {
    return this.#database.isTransaction;
  }

  /** @returns How many rows were changed. */
  run(sql: string, ...values: SqlValue[]): number {
    this.#hasWritten = true;
    return Number(this.#statement(sql).run(...values).changes);
  }

  get<Row>(sql: string, ...values: SqlValue[]): Row | undefined {
    return this.#statement(sql).get(...values) as Row | undefined;
  }

  all<Row>(sql: string, ...values: SqlValue[]): Row[] {
    return this.#statement(sql).all(...values) as Row[];
  }

  #within<T>(begin: string, end: string, undo: readonly string[], work: () => T): T {
    try {
      this.#statement(begin).run();
      const result = work();
      this.#statement(end).run();
      return result;
    } catch (error) {
      // After some errors of the disk SQLite has rolled back on its own.
      if (this.#database.isOpen && this.#database.isTransaction) {
        for (const sql of undo) this.#statement(sql).run();
      }
      const told = error instanceof SettlementError ? error : diskErrorOf(error, this.file);
      if (told instanceof JournalError) this.#writeError = told.message;
      throw told;
    }
  }

  #statement(sql: string): StatementSync {
    const known = this.#prepared.get(sql);
    if (known) return known;
    if (!this.#database.isOpen) throw new JournalError("closed", `${this.file} is closed.`);
    const statement = this.#database.prepare(sql);
    this.#prepared.set(sql, statement);
    return statement;
  }
}

function pagesIn(bytes: number): number {
  return Math.max(1, Math.floor(bytes / PAGE_BYTES));
}
