import { DatabaseSync } from "node:sqlite";
import type { Address, Hex } from "viem";
import { diskSentence, isSqliteError } from "../sqlite-error.ts";
import { SignerBusy } from "./transaction-errors.ts";

/**
 * - `pending`: signed, and maybe sent; unknown until a receipt or the nonce says otherwise.
 * - `succeeded`, `reverted`: mined.
 * - `refused`: no node took it; its nonce is free again.
 * - `replaced`: another transaction of the account, not of this journal, was mined with its nonce.
 */
export type TransactionState = "pending" | "succeeded" | "reverted" | "refused" | "replaced";

export interface JournalledTransaction {
  id: number;
  /** The caller's name for the intent; one intent is one transaction. */
  key: string | null;
  label: string;
  nonce: number;
  to: Address;
  data: Hex;
  value: bigint;
  gas: bigint;
  state: TransactionState;
  /** Hash of the attempt that was mined. */
  minedHash: Hex | null;
}

/** One signed form of a transaction; all forms of one share the nonce, so that at most one is mined. */
export interface Attempt {
  hash: Hex;
  raw: Hex;
  maxFeePerGas: bigint;
  maxPriorityFeePerGas: bigint;
  /** Milliseconds since 1970. */
  signedAt: number;
}

const SCHEMA = `
  CREATE TABLE IF NOT EXISTS sent (
    id INTEGER PRIMARY KEY, key TEXT UNIQUE, label TEXT NOT NULL, nonce INTEGER NOT NULL, target TEXT NOT NULL,
    data TEXT NOT NULL, value TEXT NOT NULL, gas TEXT NOT NULL, state TEXT NOT NULL, mined TEXT
  );
  CREATE UNIQUE INDEX IF NOT EXISTS one_per_nonce ON sent (nonce) WHERE state IN ('pending', 'succeeded', 'reverted');
  CREATE TABLE IF NOT EXISTS attempt (
    hash TEXT PRIMARY KEY, sent INTEGER NOT NULL REFERENCES sent, raw TEXT NOT NULL, fee TEXT NOT NULL,
    tip TEXT NOT NULL, signed INTEGER NOT NULL
  );
  CREATE INDEX IF NOT EXISTS attempt_of ON attempt (sent);
`;

/**
 * What one account has signed, on the disk before any node hears of it. Holding the file open is what makes a process
 * the account's only signer; the lock ends with the process, however it ends.
 */
export class TransactionJournal {
  readonly #db: DatabaseSync;

  /** @throws {SignerBusy} When another process, or another part of this one, holds the file. */
  constructor(file: string) {
    const db = new DatabaseSync(file);
    try {
      db.exec("PRAGMA locking_mode = EXCLUSIVE; PRAGMA synchronous = FULL; BEGIN EXCLUSIVE; COMMIT");
    } catch (error) {
      db.close();
      if (isSqliteError(error, "busy", "locked")) throw new SignerBusy(file);
      const sentence = diskSentence(error, file);
      throw sentence === undefined ? error : new Error(sentence, { cause: error });
    }
    db.exec(SCHEMA);
    this.#db = db;
  }

  /** Writes down a transaction with its first attempt, in one step. */
  add(transaction: Omit<JournalledTransaction, "id" | "state" | "minedHash">, attempt: Attempt): number {
    const { key, label, nonce, to, data, value, gas } = transaction;
    this.#db.exec("BEGIN");
    try {
      // What was refused left no trace on the chain, so its intent may be tried anew.
      if (key !== null) this.#db.prepare("UPDATE sent SET key = NULL WHERE key = ? AND state = 'refused'").run(key);
      const { lastInsertRowid } = this.#db
        .prepare(
          "INSERT INTO sent (key, label, nonce, target, data, value, gas, state) VALUES (?, ?, ?, ?, ?, ?, ?, 'pending')",
        )
        .run(key, label, nonce, to, data, value.toString(), gas.toString());
      this.#insertAttempt(Number(lastInsertRowid), attempt);
      this.#db.exec("COMMIT");
      return Number(lastInsertRowid);
    } catch (error) {
      // After some errors of the disk SQLite has rolled back on its own.
      if (this.#db.isTransaction) this.#db.exec("ROLLBACK");
      throw error;
    }
  }

  addAttempt(id: number, attempt: Attempt): void {
    this.#insertAttempt(id, attempt);
  }

  settle(id: number, state: TransactionState, minedHash: Hex | null = null): void {
    this.#db.prepare("UPDATE sent SET state = ?, mined = ? WHERE id = ?").run(state, minedHash, id);
  }

  get(id: number): JournalledTransaction | undefined {
    return this.#read("id = ?", id)[0];
  }

  byKey(key: string): JournalledTransaction | undefined {
    return this.#read("key = ?", key)[0];
  }

  /** By nonce. */
  pending(): JournalledTransaction[] {
    return this.#read("state = ? ORDER BY nonce", "pending");
  }

  /** What was seen mined with this nonce or a higher one, by nonce. */
  minedFrom(nonce: number): JournalledTransaction[] {
    return this.#read("state IN ('succeeded', 'reverted') AND nonce >= ? ORDER BY nonce", nonce);
  }

  /** Newest first. */
  attempts(id: number): Attempt[] {
    const rows = this.#db.prepare("SELECT * FROM attempt WHERE sent = ? ORDER BY rowid DESC").all(id);
    return rows.map((row) => ({
      hash: row.hash as Hex,
      raw: row.raw as Hex,
      maxFeePerGas: BigInt(row.fee as string),
      maxPriorityFeePerGas: BigInt(row.tip as string),
      signedAt: row.signed as number,
    }));
  }

  /** The nonce above all that are pending or mined by this journal; 0 when there is none. */
  nextNonce(): number {
    const row = this.#db
      .prepare("SELECT max(nonce) + 1 AS next FROM sent WHERE state IN ('pending', 'succeeded', 'reverted')")
      .get();
    return (row?.next as number | null) ?? 0;
  }

  close(): void {
    this.#db.close();
  }

  #insertAttempt(id: number, { hash, raw, maxFeePerGas, maxPriorityFeePerGas, signedAt }: Attempt): void {
    this.#db
      .prepare("INSERT INTO attempt VALUES (?, ?, ?, ?, ?, ?)")
      .run(hash, id, raw, maxFeePerGas.toString(), maxPriorityFeePerGas.toString(), signedAt);
  }

  #read(where: string, value: string | number): JournalledTransaction[] {
    const rows = this.#db.prepare(`SELECT * FROM sent WHERE ${where}`).all(value);
    return rows.map((row) => ({
      id: row.id as number,
      key: row.key as string | null,
      label: row.label as string,
      nonce: row.nonce as number,
      to: row.target as Address,
      data: row.data as Hex,
      value: BigInt(row.value as string),
      gas: BigInt(row.gas as string),
      state: row.state as TransactionState,
      minedHash: row.mined as Hex | null,
    }));
  }
}
