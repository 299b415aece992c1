import { canonicalJson, type Json } from "../protocol/canonical-json.ts";

/** Objects and lists within each other that a request may have. */
const MAX_DEPTH = 100;

/**
 * The bytes of a request that a voucher stands for: canonical JSON of path and body. Client, gateway and worker compute
 * the same ones, however the body was spaced or ordered on its way.
 *
 * @param path As asked, without query: `/v1/chat/completions`.
 * @param body What parsing the request's JSON gave.
 * @throws {TypeError} For what JSON cannot hold, text with lone surrogates, and bodies nested deeper than 100.
 */
export function requestBytes(path: string, body: unknown): Uint8Array {
  checkDepth(body, MAX_DEPTH);
  return new TextEncoder().encode(canonicalJson({ path, body: body as Json }));
}

/** Whoever asks could else make the recursion below run out of stack. */
function checkDepth(value: unknown, left: number): void {
  if (typeof value !== "object" || value === null) return;
  if (left === 0) throw new TypeError(`A request has at most ${MAX_DEPTH} objects and lists within each other`);
  for (const member of Object.values(value)) checkDepth(member, left - 1);
}
