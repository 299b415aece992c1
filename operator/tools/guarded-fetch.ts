import { Readable, Transform } from "node:stream";
import type { FetchLike } from "@modelcontextprotocol/sdk/shared/transport.js";
import { type Resolve, sendGuarded } from "../chain/content/guarded-request.ts";
import { ToolError } from "./tool-error.ts";

interface GuardedFetchOptions {
  /** Beginnings of addresses that may be private, as the operator has chosen. */
  readonly trusted: readonly string[];
  /** Bytes of one answer at most. */
  readonly maxBytes: number;
  readonly resolve?: Resolve;
  /** Told of an answer that was cut off: whoever reads it as a stream of events hears nothing of that. */
  readonly onTooLarge: (error: ToolError) => void;
}

/**
 * A `fetch` for addresses that somebody else has chosen: it connects to public addresses only, checked by the look-up
 * with which the connection is made, follows no redirect by itself, and takes so many bytes and no more.
 */
export function guardedFetch({ trusted, maxBytes, resolve, onTooLarge }: GuardedFetchOptions): FetchLike {
  return async (address, init = {}) => {
    const url = new URL(address);
    const { method = "GET", headers, body, signal } = init;
    if (body != null && typeof body !== "string") throw new TypeError("Only text is sent");
    const incoming = await sendGuarded(url, {
      trusted,
      resolve,
      signal: signal ?? new AbortController().signal,
      method,
      headers: Object.fromEntries(new Headers(headers)),
      ...(body != null && { body }),
    });
    let received = 0;
    const bounded = new Transform({
      transform(chunk: Uint8Array, _encoding, done) {
        received += chunk.length;
        if (received > maxBytes) {
          incoming.destroy();
          const error = new ToolError("too_large", `${url.host} answers with more than ${maxBytes} bytes.`);
          onTooLarge(error);
          done(error);
        } else done(null, chunk);
      },
    });
    incoming.on("error", (error) => bounded.destroy(error));
    incoming.pipe(bounded);
    const { statusCode = 0, headers: given } = incoming;
    const pairs = Object.entries(given).flatMap(([name, value]) => [value ?? []].flat().map((one) => [name, one]));
    const empty = statusCode === 204 || statusCode === 205 || statusCode === 304;
    if (empty) bounded.resume();
    const stream = empty ? null : (Readable.toWeb(bounded) as ReadableStream<Uint8Array>);
    return new Response(stream, { status: statusCode, headers: pairs as [string, string][] });
  };
}
