/** SQLite's result codes, without their extensions. */
const SQLITE_FULL = 13;

/** What SQLite threw over a file in a sentence that names the file; undefined for what SQLite did not throw. */
export function diskSentence(error: unknown, file: string): string | undefined {
  if (!(error instanceof Error) || !("errcode" in error)) return undefined;
  const isFull = ((error.errcode as number) & 0xff) === SQLITE_FULL;
  return isFull ? `No room for ${file}.` : `Writing ${file} failed: ${error.message}.`;
}
