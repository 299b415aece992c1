import { EngineError } from "../engine-error.ts";

/** One event of a stream; `error` where the server put its message into an `error:` field. */
export interface ServerSentEvent {
  readonly data: string;
  readonly error: boolean;
}

/** No event of a token stream comes near this; a server that sends more is broken or hostile. */
const MAX_EVENT_CHARACTERS = 16 * 1024 * 1024;

/**
 * Splits a byte stream into server-sent events (WHATWG HTML, "Server-sent events"): any chunking, any line ending,
 * comments skipped, data lines joined. An event that the end of the stream cuts off is dropped, as the standard says.
 *
 * @throws EngineError `failed` when one event grows beyond 16 Mi characters
 */
export async function* parseServerSentEvents(bytes: AsyncIterable<Uint8Array>): AsyncGenerator<ServerSentEvent> {
  const decoder = new TextDecoder();
  let pending = "";
  let data: string[] = [];
  let error = false;
  let size = 0;
  for await (const chunk of bytes) {
    pending += decoder.decode(chunk, { stream: true });
    // A carriage return at the very end may be half of a line ending: it waits for the next chunk.
    const lines = pending.split(/\r\n|\n|\r(?!$)/);
    pending = lines.pop() as string;
    if (pending.length + size > MAX_EVENT_CHARACTERS) {
      throw new EngineError("failed", `The server sent an event of more than ${MAX_EVENT_CHARACTERS} characters`);
    }
    for (const line of lines) {
      if (line === "") {
        if (data.length > 0) yield { data: data.join("\n"), error };
        data = [];
        error = false;
        size = 0;
        continue;
      }
      const colon = line.indexOf(":");
      const field = colon < 0 ? line : line.slice(0, colon);
      if (field !== "data" && field !== "error") continue;
      const value = line.slice(colon + 1).replace(/^ /, "");
      size += value.length;
      error ||= field === "error";
      data.push(colon < 0 ? "" : value);
    }
  }
}
