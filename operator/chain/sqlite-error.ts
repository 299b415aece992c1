/** SQLite's result codes that mean something of their own here. */
const CODES = { busy: 5, locked: 6, full: 13 } as const;

/** Whether SQLite threw it for one of these reasons, whatever the extension of its code. */
export function isSqliteError(error: unknown, ...reasons: (keyof typeof CODES)[]): boolean {
  if (!(error instanceof Error) || !("errcode" in error)) return false;
  const code = (error.errcode as number) & 0xff;
  return reasons.length === 0 || reasons.some((reason) => CODES[reason] === code);
}

/** What SQLite threw over a file in a sentence that names the file; undefined for what SQLite did not throw. */
export function diskSentence(error: unknown, file: string): string | undefined {
  if (!isSqliteError(error)) return undefined;
  return isSqliteError(error, "full") ? `No room for ${file}.` : `Writing ${file} failed: ${(error as Error).message}.`;
}
