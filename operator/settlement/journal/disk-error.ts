import { diskSentence } from "../../chain/disk-sentence.ts";
import { JournalError } from "../errors.ts";

/** SQLite's result codes, without their extensions. */
const SQLITE_FULL = 13;
const SQLITE_BUSY = 5;
const SQLITE_LOCKED = 6;

/** What SQLite threw as what it means for a file: `full` or `failed`. Anything else as it is. */
export function diskErrorOf(error: unknown, file: string): unknown {
  const message = diskSentence(error, file);
  if (message === undefined) return error;
  const isFull = isSqliteError(error) && codeOf(error) === SQLITE_FULL;
  return new JournalError(isFull ? "full" : "failed", message, { file }, { cause: error });
}

/** Whether SQLite threw because somebody else has the file. */
export function isHeldByAnother(error: unknown): boolean {
  return isSqliteError(error) && [SQLITE_BUSY, SQLITE_LOCKED].includes(codeOf(error));
}

function codeOf({ errcode }: { errcode: number }): number {
  return errcode & 0xff;
}

function isSqliteError(error: unknown): error is Error & { errcode: number } {
  return error instanceof Error && "errcode" in error;
}
