/** Where the story goes: nowhere on standard output when that is kept for JSON. */
let out: NodeJS.WriteStream = process.stdout;

/** Keeps standard output for one JSON object; the story goes to standard error. */
export function tellOnStandardError(): void {
  out = process.stderr;
}

/** Plain text on any terminal; bold where it is one. */
const bold = (text: string) => (out.isTTY ? `\u001b[1m${text}\u001b[0m` : text);

export function heading(text: string): void {
  out.write(`\n${bold(text)}\n`);
}

export function line(text = ""): void {
  out.write(text === "" ? "\n" : `  ${text}\n`);
}

/** Part of a line, as it comes. */
export function piece(text: string): void {
  out.write(text);
}

/** Wei of OPEN with six decimals. */
export function open(wei: bigint): string {
  const sign = wei < 0n ? "-" : "";
  const micro = (wei < 0n ? -wei : wei) / 10n ** 12n;
  return `${sign}${micro / 1_000_000n}.${String(micro % 1_000_000n).padStart(6, "0")} OPEN`;
}

/** Rows with their columns aligned: the first to the left, the others to the right. */
export function table(rows: readonly (readonly string[])[]): void {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  for (const row of rows) {
    line(row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i]))).join("   "));
  }
}

export const gas = (amount: bigint | number) => `${Number(amount).toLocaleString("en-US")} gas`;

export const seconds = (milliseconds: number) => `${(milliseconds / 1_000).toFixed(1)} s`;
