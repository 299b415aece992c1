import { existsSync } from "node:fs";
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

const EXAMINING = `
  -- Question and answer as they were hashed, of the newest jobs: whoever verifies them need not take the operator's.
  CREATE TABLE exchange (nonce INTEGER PRIMARY KEY, request BLOB NOT NULL, response BLOB) STRICT;

  -- What came of doing a job again.
  CREATE TABLE examined (
    nonce INTEGER PRIMARY KEY,
    verdict TEXT NOT NULL CHECK (verdict IN ('verified', 'misattributed', 'unchecked')),
    tries INTEGER NOT NULL,
    at INTEGER NOT NULL,
    detail TEXT NOT NULL
  ) STRICT;
`;

const SENDING = `
  -- When it last was, or may have been, on its way to the operator; unknown of what older versions signed.
  ALTER TABLE job ADD COLUMN sent_at INTEGER;
`;

/** What each version added; the file's `user_version` is how many of them it has. */
const VERSIONS = [TABLES, EXAMINING, SENDING];

/**
 * Opens a ledger's file, or makes it. A commit is on the disk when it returns.
 *
 * @throws {PaymentError} `foreignLedger` when it is of another channel, chain or key, or a newer program wrote it.
 */
export function openLedgerFile(file: string, identity: LedgerIdentity): DatabaseSync {
  const database = new DatabaseSync(file, { timeout: 10_000 });
  try {
    const known = prepare(database, file, identity)!;
    if (known.channel !== identity.channel || !sameBytes(known.separator, identity.separator)) {
      throw foreign(`${file} is the ledger of channel ${known.channel}, or of another chain or contract.`);
    }
    if (known.sessionKey !== identity.sessionKey) {
      throw foreign(`${file} belongs to the session key ${known.sessionKey}, not to ${identity.sessionKey}.`);
    }
    return database;
  } catch (error) {
    throw closed(database, error);
  }
}

/**
 * Opens the file of a ledger that is there, for whoever does not sign from it.
 *
 * @throws {PaymentError} `foreignLedger` when it is none, or a newer program wrote it.
 */
export function openKnownLedger(file: string): { database: DatabaseSync; identity: LedgerIdentity } {
  if (!existsSync(file)) throw foreign(`There is no payer's ledger at ${file}.`);
  const database = new DatabaseSync(file, { timeout: 10_000 });
  try {
    const identity = prepare(database, file);
    if (!identity) throw foreign(`${file} is no payer's ledger.`);
    return { database, identity };
  } catch (error) {
    const isOther = (error as { code?: string }).code === "ERR_SQLITE_ERROR" && /not a database/.test(String(error));
    throw closed(database, isOther ? foreign(`${file} is no payer's ledger.`) : error);
  }
}

/** Brings the tables up to date. @returns Whose ledger it is; undefined where it is new and nobody's. */
function prepare(database: DatabaseSync, file: string, owner?: LedgerIdentity): LedgerIdentity | undefined {
  database.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;");
  database.exec("BEGIN IMMEDIATE");
  const { user_version: found } = database.prepare("PRAGMA user_version").get() as { user_version: number };
  if (found > VERSIONS.length) throw foreign(`${file} was written by a newer version of this program.`);
  if (found === 0 && !owner) return undefined;
  for (const version of VERSIONS.slice(found)) database.exec(version);
  database.exec(`PRAGMA user_version = ${VERSIONS.length}`);
  if (found === 0 && owner) {
    const { channel, separator, sessionKey } = owner;
    database.prepare("INSERT INTO identity VALUES (?, ?, ?)").run(channel, separator, sessionKey);
  }
  database.exec("COMMIT");
  const row = database.prepare("SELECT channel, separator, session_key AS sessionKey FROM identity").get();
  return row as unknown as LedgerIdentity;
}

function closed(database: DatabaseSync, error: unknown): unknown {
  if (database.isTransaction) database.exec("ROLLBACK");
  database.close();
  return error;
}

function foreign(message: string): PaymentError {
  return new PaymentError("foreignLedger", message);
}
