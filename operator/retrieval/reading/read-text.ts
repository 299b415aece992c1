import { isUtf8 } from "node:buffer";
import { DocumentRefused } from "./document-refused.ts";

const BYTE_ORDER_MARK = "\uFEFF";

/**
 * Decodes UTF-8 without changing anything: byte ranges must point into the very bytes that were registered, so there
 * are no replacement characters. A byte order mark is dropped; `first` is the byte at which the text begins.
 *
 * @throws {DocumentRefused} When the bytes are no UTF-8, with the first bad byte, or contain a zero byte.
 */
export function decodeUtf8(bytes: Uint8Array): { text: string; first: number } {
  if (!isUtf8(bytes)) throw new DocumentRefused("encoding", `not valid UTF-8 at byte ${firstBadByte(bytes)}`);
  const zero = bytes.indexOf(0);
  if (zero >= 0) throw new DocumentRefused("encoding", `a zero byte at ${zero}: this is no text`);
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("utf8");
  return text.startsWith(BYTE_ORDER_MARK) ? { text: text.slice(1), first: 3 } : { text, first: 0 };
}

/** Halves the stretch that holds the first bad sequence: every prefix before it is valid up to a cut character. */
function firstBadByte(bytes: Uint8Array): number {
  let good = 0;
  let bad = bytes.length;
  while (bad - good > 1) {
    const middle = (good + bad) >> 1;
    if (validUpToCutCharacter(bytes, middle)) good = middle;
    else bad = middle;
  }
  return good;
}

function validUpToCutCharacter(bytes: Uint8Array, length: number): boolean {
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(bytes.subarray(0, length), { stream: true });
    return true;
  } catch {
    return false;
  }
}
