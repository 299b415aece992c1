import type { DatabaseSync } from "node:sqlite";
import { sameBytes } from "../../protocol/bytes.ts";
import { JournalError } from "../errors.ts";

/** Whose books a journal holds: one operator on one deployment of the contracts. */
export interface JournalIdentity {
  operator: number;
  /** Domain separator of the vouchers, 32 bytes: it names chain and contract. */
  separator: Uint8Array;
}

/** Stands in the file's `user_version`. A change of the tables raises it and adds its step to {@link STEPS}. */
const SCHEMA_VERSION = 3;

// Amounts are decimal text, since they outgrow SQLite's integers; hashes, bodies and vouchers are their bytes.
const STEPS = [
  `
  CREATE TABLE identity (operator INTEGER NOT NULL, separator BLOB NOT NULL) STRICT;

  CREATE TABLE job (
    position INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    state TEXT NOT NULL CHECK (state IN ('accepted', 'completed', 'failed')),
    voucher BLOB NOT NULL,
    request BLOB NOT NULL,
    salt BLOB NOT NULL,
    admitted_at INTEGER NOT NULL,
    reason TEXT
  ) STRICT;
  CREATE INDEX job_in_flight ON job (position) WHERE state = 'accepted';

  -- A batch without a header is open; at most one is.
  CREATE TABLE batch (
    sequence INTEGER PRIMARY KEY,
    registry_time INTEGER NOT NULL,
    header BLOB
  ) STRICT;

  CREATE TABLE receipt (
    position INTEGER PRIMARY KEY,
    job BLOB NOT NULL UNIQUE REFERENCES job (id),
    channel INTEGER NOT NULL,
    batch INTEGER NOT NULL REFERENCES batch (sequence),
    place INTEGER NOT NULL,
    charged TEXT NOT NULL,
    body BLOB NOT NULL,
    state_root BLOB NOT NULL,
    response BLOB NOT NULL,
    trace BLOB NOT NULL,
    completed_at INTEGER NOT NULL,
    UNIQUE (batch, place)
  ) STRICT;
  CREATE INDEX receipt_of_channel ON receipt (channel, position);

  -- The state after some batches, so that a restart replays what came since.
  CREATE TABLE snapshot (batch INTEGER PRIMARY KEY REFERENCES batch (sequence), bytes BLOB NOT NULL) STRICT;

  CREATE TABLE published (hash BLOB PRIMARY KEY, data BLOB NOT NULL) STRICT;
  `,
  `
  -- Sealed batches that fell, or that could not be posted in time; their sequence numbers stay used.
  CREATE TABLE fallen_batch (
    sequence INTEGER PRIMARY KEY,
    registry_time INTEGER NOT NULL,
    header BLOB NOT NULL,
    fell_at INTEGER NOT NULL,
    reason TEXT NOT NULL
  ) STRICT;

  -- Where receipts stood in them.
  CREATE TABLE fallen_receipt (
    batch INTEGER NOT NULL REFERENCES fallen_batch (sequence),
    place INTEGER NOT NULL,
    job BLOB NOT NULL REFERENCES job (id),
    state_root BLOB NOT NULL,
    PRIMARY KEY (batch, place)
  ) STRICT;

  -- Receipts that no batch may carry any more: nobody is charged for them, and their positions stay used.
  CREATE TABLE withdrawn_receipt (
    position INTEGER PRIMARY KEY,
    job BLOB NOT NULL UNIQUE REFERENCES job (id),
    channel INTEGER NOT NULL,
    body BLOB NOT NULL,
    response BLOB NOT NULL,
    trace BLOB NOT NULL,
    completed_at INTEGER NOT NULL,
    reason TEXT NOT NULL
  ) STRICT;
  `,
  `
  -- Jobs that were given up without a charge, in the order of that: their requests are emptied when they are too many,
  -- and they are forgotten after a while. \`bytes\` is what a request counts for (0: emptied), \`bytes_so_far\` the sum
  -- with all before it, so that what is kept is a difference of two rows.
  CREATE TABLE failed_job (
    position INTEGER PRIMARY KEY,
    job INTEGER NOT NULL REFERENCES job (position),
    bytes INTEGER NOT NULL,
    bytes_so_far INTEGER NOT NULL,
    failed_at INTEGER NOT NULL
  ) STRICT;
  CREATE INDEX failed_request ON failed_job (position) WHERE bytes > 0;
  CREATE INDEX failed_job_of ON failed_job (job);
  -- Deleting a job looks here for what would point to nothing.
  CREATE INDEX fallen_receipt_of_job ON fallen_receipt (job);
  INSERT INTO failed_job
    SELECT row_number() OVER failing, position, max(length(request), 4096),
      sum(max(length(request), 4096)) OVER failing, admitted_at
    FROM job WHERE state = 'failed' AND id NOT IN (SELECT job FROM withdrawn_receipt)
    WINDOW failing AS (ORDER BY position);
  `,
];

/**
 * Brings a journal's tables up to date, or makes them.
 *
 * @throws {JournalError} `unknownSchema` when a newer program wrote the file, `foreign` when it is of another operator
 * or deployment.
 */
export function prepareSchema(database: DatabaseSync, file: string, identity: JournalIdentity): void {
  const { user_version: found } = database.prepare("PRAGMA user_version").get() as { user_version: number };
  if (found > SCHEMA_VERSION) {
    const details = { file, found: String(found), known: String(SCHEMA_VERSION) };
    throw new JournalError("unknownSchema", `${file} was written by a newer version of this program.`, details);
  }
  database.exec("BEGIN IMMEDIATE");
  try {
    for (const step of STEPS.slice(found)) database.exec(step);
    if (found < SCHEMA_VERSION) database.exec(`PRAGMA user_version = ${SCHEMA_VERSION}`);
    if (found === 0) {
      database.prepare("INSERT INTO identity VALUES (?, ?)").run(identity.operator, identity.separator);
    }
    database.exec("COMMIT");
  } catch (error) {
    if (database.isTransaction) database.exec("ROLLBACK");
    throw error;
  }
  const known = database.prepare("SELECT operator, separator FROM identity").get() as unknown as JournalIdentity;
  if (known.operator !== identity.operator || !sameBytes(known.separator, identity.separator)) {
    const details = { file, operator: String(known.operator) };
    throw new JournalError("foreign", `${file} belongs to operator ${known.operator} or to another chain.`, details);
  }
}
