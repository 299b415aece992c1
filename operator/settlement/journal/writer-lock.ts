import { DatabaseSync } from "node:sqlite";
import { isSqliteError } from "../../chain/sqlite-error.ts";
import { JournalError } from "../errors.ts";
import { diskErrorOf } from "./disk-error.ts";

/** Held by the one process that may write a journal. */
export interface WriterLock {
  release(): void;
}

/**
 * Takes the lock beside a journal, or says that another has it. It is a lock of the operating system on a file of its
 * own: it goes with the process, however that ends, and nothing stale is left to be removed by hand; readers of the
 * journal itself are not kept out.
 *
 * @throws {JournalError} `locked` when another process, or another part of this one, holds it; `full` or `failed` when
 * the disk takes no lock.
 */
export function takeWriterLock(journalFile: string): WriterLock {
  const database = new DatabaseSync(`${journalFile}.lock`, { timeout: 0 });
  try {
    database.exec("PRAGMA journal_mode = DELETE; BEGIN EXCLUSIVE");
  } catch (cause) {
    database.close();
    if (!isSqliteError(cause, "busy", "locked")) throw diskErrorOf(cause, journalFile);
    const details = { file: journalFile };
    throw new JournalError("locked", `Another process writes ${journalFile}.`, details, { cause });
  }
  return { release: () => database.close() };
}
