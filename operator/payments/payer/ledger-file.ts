import type { DatabaseSync, SQLInputValue } from "node:sqlite";
import type { CapLedger } from "../../protocol/cap-ledger.ts";
import { decodeVoucher } from "../../settlement/journal/voucher-bytes.ts";
import type { JobRow } from "./ledger-jobs.ts";
import { type LedgerIdentity, openLedgerFile } from "./ledger-schema.ts";

/** The ledger's one account. Amounts are wei of OPEN in decimal text. */
interface AccountRow {
  next_nonce: number;
  charged: string;
  exposure: string;
  since: number;
  since_charged: string;
  lie: string | null;
}

/** The rows of a payer's ledger (`ledger-schema.ts`), and the values that they stand for. */
export class LedgerFile {
  readonly #database: DatabaseSync;

  /** @throws {PaymentError} `foreignLedger`. */
  constructor(file: string, identity: LedgerIdentity) {
    this.#database = openLedgerFile(file, identity);
  }

  close(): void {
    if (this.#database.isOpen) this.#database.close();
  }

  /** All of it is on the disk when this returns, or none of it when it throws. */
  transaction<T>(work: () => T): T {
    this.#database.exec("BEGIN IMMEDIATE");
    try {
      const result = work();
      this.#database.exec("COMMIT");
      return result;
    } catch (error) {
      if (this.#database.isTransaction) this.#database.exec("ROLLBACK");
      throw error;
    }
  }

  one<T>(sql: string, ...values: SQLInputValue[]): T | undefined {
    return this.#database.prepare(sql).get(...values) as T | undefined;
  }

  all<T>(sql: string, ...values: SQLInputValue[]): T[] {
    return this.#database.prepare(sql).all(...values) as T[];
  }

  run(sql: string, ...values: SQLInputValue[]): void {
    this.#database.prepare(sql).run(...values);
  }

  account(): AccountRow {
    return this.one<AccountRow>("SELECT * FROM account")!;
  }

  job(id: Uint8Array): JobRow | undefined {
    return this.one<JobRow>("SELECT * FROM job WHERE id = ?", id);
  }

  /** Jobs of which nothing is known yet, by nonce. */
  unresolved(): JobRow[] {
    return this.all<JobRow>("SELECT * FROM job WHERE state = 'signed' ORDER BY nonce");
  }

  caps(): CapLedger {
    const { charged, exposure, next_nonce } = this.account();
    const unresolved = new Map(
      this.unresolved().map((row) => [BigInt(row.nonce), decodeVoucher(row.voucher).maxPrice]),
    );
    return { charged: BigInt(charged), exposure: BigInt(exposure), nextNonce: BigInt(next_nonce), unresolved };
  }

  /** Writes caps down; which jobs are unresolved follows from the jobs. */
  keepCaps({ charged, exposure, nextNonce }: CapLedger): void {
    const change = "UPDATE account SET charged = ?, exposure = ?, next_nonce = ?";
    this.run(change, String(charged), String(exposure), nextNonce);
  }

  /** Gives a job up, unless its fate is known. What was set aside for it is free with that. */
  forget(id: Uint8Array, reason: string): void {
    const change = "UPDATE job SET state = 'forgotten', loss = NULL, reason = ? WHERE id = ? AND state = 'signed'";
    this.run(change, reason, id);
  }
}
