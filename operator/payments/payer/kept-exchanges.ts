import type { LedgerFile } from "./ledger-file.ts";

/** Exchanges of a ledger that are kept unless its owner says otherwise. */
export const KEPT_EXCHANGES = 256;
/** Bytes of a question, and of an answer, that are kept; of longer ones the operator has to show its own. */
const MOST_BYTES = 128 * 1024;

/** Keeps a question in the transaction that signs for it, and lets go of the oldest beyond `most`. */
export function keepRequest(file: LedgerFile, nonce: number, request: Uint8Array, most: number): void {
  if (most > 0 && request.length <= MOST_BYTES) {
    file.run("INSERT INTO exchange (nonce, request) VALUES (?, ?)", nonce, request);
  }
  const old = "DELETE FROM exchange WHERE nonce <= (SELECT nonce FROM exchange ORDER BY nonce DESC LIMIT 1 OFFSET ?)";
  file.run(old, most);
}

/** Keeps the answer beside its question, where that is still here. */
export function keepResponse(file: LedgerFile, nonce: number, response: Uint8Array): void {
  if (response.length > MOST_BYTES) return;
  file.run("UPDATE exchange SET response = ? WHERE nonce = ?", response, nonce);
}
