import { createParser } from "eventsource-parser";
import { PaymentError } from "./payment-error.ts";

/** What a reader of a paid stream is told; of the last three, one, once. */
export interface StreamWatch {
  /** What an event holds, where that is an object in JSON. What this throws breaks the stream off. */
  event(event: Readonly<Record<string, unknown>>): void;
  /** It came to its end. What this throws breaks it off as well. */
  ended(): void;
  /** The connection broke. */
  broken(): void;
  /** Its reader went away. */
  left(): void;
}

/** Characters of one event at most: more than any answer. */
const MAX_EVENT = 16_777_216;

/** Passes server-sent events on as they come, and tells what is in them, as any client of them reads them. */
export function watchPaidStream(body: ReadableStream<Uint8Array>, watch: StreamWatch): ReadableStream<Uint8Array> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  const events = createParser({
    maxBufferSize: MAX_EVENT,
    onEvent: ({ data }) => {
      const event = objectIn(data);
      if (event) watch.event(event);
    },
    onError: ({ type }) => {
      if (type !== "max-buffer-size-exceeded") return;
      throw new PaymentError("malformed", `The operator sends an event of more than ${MAX_EVENT} characters.`);
    },
  });
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      let read: ReadableStreamReadResult<Uint8Array>;
      try {
        read = await reader.read();
      } catch (error) {
        watch.broken();
        controller.error(error);
        return;
      }
      try {
        if (read.done) {
          // Some clients take a last event that no empty line ends.
          events.feed(`${decoder.decode()}\n\n`);
          watch.ended();
          controller.close();
        } else {
          controller.enqueue(read.value);
          events.feed(decoder.decode(read.value, { stream: true }));
        }
      } catch (error) {
        controller.error(error);
        await reader.cancel(error).catch(() => {});
      }
    },
    cancel(reason) {
      watch.left();
      return reader.cancel(reason);
    },
  });
}

function objectIn(data: string): Record<string, unknown> | undefined {
  try {
    const event: unknown = JSON.parse(data);
    return typeof event === "object" && event !== null ? { ...event } : undefined;
  } catch {
    return undefined;
  }
}
