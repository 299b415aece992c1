import { DatabaseSync } from "node:sqlite";
import { sameBytes } from "../../protocol/bytes.ts";
import { PaymentError } from "../payment-error.ts";

/** Whose payments a ledger holds. */
export interface LedgerIdentity {
  channel: number;
  /** Domain separator of the vouchers, 32 bytes: it names chain and contract. */
  separator: Uint8Array;
  /** Address of the key that signs. */
  sessionKey: string;
}

/** Stands in the file's `user_version`. */
const SCHEMA_VERSION = 1;

// Amounts are decimal text, since they outgrow SQLite's integers.
const TABLES = `
  CREATE TABLE identity (channel INTEGER NOT NULL, separator BLOB NOT NULL, session_key TEXT NOT NULL) STRICT;

  CREATE TABLE account (
    next_nonce INTEGER NOT NULL,
    charged TEXT NOT NULL,
    exposure TEXT NOT NULL,
    -- The last receipt up to which every receipt of the channel is here, and the channel's total with it.
    since INTEGER NOT NULL,
    since_charged TEXT NOT NULL,
    -- What the operator was caught at, and the bytes that show it.
    lie TEXT,
    evidence BLOB
  ) STRICT;
  INSERT INTO account VALUES (1, '0', '0', 0, '0', NULL, NULL);

  CREATE TABLE job (
    nonce INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    state TEXT NOT NULL CHECK (state IN ('signed', 'charged', 'forgotten')),
    -- Why nobody waits for the answer any more: its fate is unknown, or the asker left.
    loss TEXT CHECK (loss IN ('unknown', 'left')),
    voucher BLOB NOT NULL,
    signed_at INTEGER NOT NULL,
    -- Without these, a voucher that another file of the same key has signed.
    question BLOB,
    header TEXT,
    job_price TEXT,
    prompt_price TEXT,
    completion_price TEXT,
    -- Once its receipt is here.
    price TEXT,
    charged TEXT,
    position INTEGER UNIQUE,
    receipt BLOB,
    reason TEXT
  ) STRICT;
  CREATE INDEX job_unresolved ON job (nonce) WHERE state = 'signed';
  CREATE INDEX job_lost ON job (question) WHERE loss IS NOT NULL;
`;

/**
 * Opens a ledger's file, or makes it. A commit is on the disk when it returns.
 *
 * @throws {PaymentError} `foreignLedger` when it is of another channel, chain or key, or a newer program wrote it.
 */
export function openLedgerFile(file: string, identity: LedgerIdentity): DatabaseSync {
  const database = new DatabaseSync(file, { timeout: 10_000 });
  try {
    database.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;");
    database.exec("BEGIN IMMEDIATE");
    const { user_version: found } = database.prepare("PRAGMA user_version").get() as { user_version: number };
    if (found > SCHEMA_VERSION) throw foreign(`${file} was written by a newer version of this program.`);
    if (found === 0) {
      const { channel, separator, sessionKey } = identity;
      database.exec(TABLES);
      database.exec(`PRAGMA user_version = ${SCHEMA_VERSION}`);
      database.prepare("INSERT INTO identity VALUES (?, ?, ?)").run(channel, separator, sessionKey);
    }
    database.exec("COMMIT");
    const row = database.prepare("SELECT channel, separator, session_key AS sessionKey FROM identity").get();
    const known = row as unknown as LedgerIdentity;
    if (known.channel !== identity.channel || !sameBytes(known.separator, identity.separator)) {
      throw foreign(`${file} is the ledger of channel ${known.channel}, or of another chain or contract.`);
    }
    if (known.sessionKey !== identity.sessionKey) {
      throw foreign(`${file} belongs to the session key ${known.sessionKey}, not to ${identity.sessionKey}.`);
    }
    return database;
  } catch (error) {
    if (database.isTransaction) database.exec("ROLLBACK");
    database.close();
    throw error;
  }
}

function foreign(message: string): PaymentError {
  return new PaymentError("foreignLedger", message);
}
