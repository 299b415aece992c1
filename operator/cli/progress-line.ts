/** On a terminal one line that changes; elsewhere a line for what is `lasting`. Both on standard error. */
export function progressLine(silent = false): (text: string, lasting: boolean) => void {
  if (silent) return () => {};
  return (text, lasting) => {
    if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}${lasting ? "\n" : ""}`);
    else if (lasting) process.stderr.write(`${text}\n`);
  };
}
