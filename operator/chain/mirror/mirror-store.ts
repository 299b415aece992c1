import { DatabaseSync, type StatementSync } from "node:sqlite";
import type { Hex } from "viem";
import type { ContractKey } from "../contracts.ts";
import { diskSentence } from "../sqlite-error.ts";
import type { Fact } from "./registry-events.ts";

/** A block up to which the mirror has read, or a moment in its past. */
export interface MirrorHead {
  block: number;
  hash: Hex;
  /** Seconds since 1970. */
  time: number;
}

const SCHEMA = `
  PRAGMA journal_mode = WAL;
  PRAGMA synchronous = NORMAL;
  CREATE TABLE IF NOT EXISTS identity (text TEXT NOT NULL);
  CREATE TABLE IF NOT EXISTS checkpoint (block INTEGER PRIMARY KEY, hash TEXT NOT NULL, time INTEGER NOT NULL);
  CREATE TABLE IF NOT EXISTS fact (
    kind TEXT NOT NULL, a INTEGER NOT NULL, b INTEGER NOT NULL, block INTEGER NOT NULL, log INTEGER NOT NULL,
    source TEXT NOT NULL, time INTEGER NOT NULL, data TEXT NOT NULL,
    PRIMARY KEY (kind, a, b, block, log)
  ) WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS fact_by_second ON fact (kind, b);
  CREATE INDEX IF NOT EXISTS fact_by_block ON fact (block);
`;

/** Checkpoints this close to the head are all kept: a re-org goes back to the newest that still stands. */
const CHECKPOINTS = 128;

interface Row {
  kind: string;
  a: number;
  b: number;
  block: number;
  log: number;
  source: string;
  time: number;
  data: string;
}

/**
 * What the chain said, append-only by block, so that taking blocks back is deleting rows. A cache: nothing in it is
 * lost that the chain cannot tell again.
 */
export class MirrorStore {
  readonly #db: DatabaseSync;
  readonly #path: string;
  readonly #insert: StatementSync;
  readonly #byFirst: StatementSync;
  readonly #byBoth: StatementSync;
  readonly #bySecond: StatementSync;
  readonly #byKind: StatementSync;
  readonly #head: StatementSync;

  /**
   * @param path File, or `:memory:`.
   * @param identity What the mirror is of; a file that mirrors something else is emptied.
   */
  constructor(path: string, identity: string) {
    // The first words already may have to wait: processes that share the file may all start at once.
    this.#path = path;
    const db = this.#named(() => new DatabaseSync(path, { timeout: 10_000 }));
    this.#db = db;
    this.#named(() => db.exec(SCHEMA));
    this.#transaction(() => {
      if (db.prepare("SELECT text FROM identity").get()?.text === identity) return;
      db.exec("DELETE FROM identity; DELETE FROM fact; DELETE FROM checkpoint");
      db.prepare("INSERT INTO identity VALUES (?)").run(identity);
    });
    this.#insert = db.prepare("INSERT OR REPLACE INTO fact VALUES (?, ?, ?, ?, ?, ?, ?, ?)");
    this.#byFirst = db.prepare("SELECT * FROM fact WHERE kind = ? AND a = ? ORDER BY block, log");
    this.#byBoth = db.prepare("SELECT * FROM fact WHERE kind = ? AND a = ? AND b = ? ORDER BY block, log");
    this.#bySecond = db.prepare("SELECT * FROM fact WHERE kind = ? AND b = ? ORDER BY block, log");
    this.#byKind = db.prepare("SELECT * FROM fact WHERE kind = ? ORDER BY block, log");
    this.#head = db.prepare("SELECT block, hash, time FROM checkpoint ORDER BY block DESC LIMIT 1");
  }

  head(): MirrorHead | undefined {
    return this.#head.get() as MirrorHead | undefined;
  }

  /** Newest first. */
  checkpoints(): MirrorHead[] {
    return this.#db
      .prepare("SELECT block, hash, time FROM checkpoint ORDER BY block DESC")
      .all() as unknown as MirrorHead[];
  }

  /**
   * Adds what the blocks after the head said, in one transaction.
   *
   * @returns Whether it was added: not when another process has moved the head meanwhile.
   */
  append(after: MirrorHead | undefined, facts: readonly Fact[], head: MirrorHead): boolean {
    return this.#transaction(() => {
      if (this.head()?.hash !== after?.hash) return false;
      for (const fact of facts) {
        const { kind, a, b, block, log, source, time, data } = fact;
        this.#insert.run(kind, a, b, block, log, source, time, JSON.stringify(data, bigintAsText));
      }
      this.#db.prepare("INSERT INTO checkpoint VALUES (?, ?, ?)").run(head.block, head.hash, head.time);
      this.#db
        .prepare(
          "DELETE FROM checkpoint WHERE block % 1024 <> 0 AND block < (SELECT min(block) FROM (SELECT block FROM checkpoint ORDER BY block DESC LIMIT ?))",
        )
        .run(CHECKPOINTS);
      return true;
    });
  }

  /** Forgets everything above a checkpoint; everything, when none stands. */
  rollBack(to: MirrorHead | undefined): void {
    this.#transaction(() => {
      const block = to?.block ?? -1;
      this.#db.prepare("DELETE FROM fact WHERE block > ?").run(block);
      this.#db.prepare("DELETE FROM checkpoint WHERE block > ?").run(block);
    });
  }

  /** Facts of a kind in the order in which they came to be, by first number, both, or none. */
  facts(kind: string, a?: number, b?: number): Fact[] {
    const rows =
      a === undefined
        ? this.#byKind.all(kind)
        : b === undefined
          ? this.#byFirst.all(kind, a)
          : this.#byBoth.all(kind, a, b);
    return (rows as unknown as Row[]).map(factOfRow);
  }

  /** Facts of a kind by their second number. */
  factsUnder(kind: string, b: number): Fact[] {
    return (this.#bySecond.all(kind, b) as unknown as Row[]).map(factOfRow);
  }

  close(): void {
    this.#db.close();
  }

  #transaction<T>(work: () => T): T {
    return this.#named(() => {
      this.#db.exec("BEGIN IMMEDIATE");
      try {
        const result = work();
        this.#db.exec("COMMIT");
        return result;
      } catch (error) {
        // After some errors of the disk SQLite has rolled back on its own.
        if (this.#db.isTransaction) this.#db.exec("ROLLBACK");
        throw error;
      }
    });
  }

  /** What the disk refuses is said with the file's name. */
  #named<T>(work: () => T): T {
    try {
      return work();
    } catch (cause) {
      const sentence = diskSentence(cause, this.#path);
      throw sentence === undefined ? cause : new Error(sentence, { cause });
    }
  }
}

function factOfRow(row: Row): Fact {
  return { ...row, source: row.source as ContractKey, data: JSON.parse(row.data) };
}

function bigintAsText(_key: string, value: unknown): unknown {
  return typeof value === "bigint" ? value.toString() : value;
}
