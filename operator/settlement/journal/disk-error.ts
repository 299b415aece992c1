import { diskSentence, isSqliteError } from "../../chain/sqlite-error.ts";
import { JournalError } from "../errors.ts";

/** What SQLite threw as what it means for a file: `full` or `failed`. Anything else as it is. */
export function diskErrorOf(error: unknown, file: string): unknown {
  const message = diskSentence(error, file);
  if (message === undefined) return error;
  return new JournalError(isSqliteError(error, "full") ? "full" : "failed", message, { file }, { cause: error });
}
