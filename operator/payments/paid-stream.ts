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

/** Characters of one line at most: more than any answer. A longer one is not looked into. */
const MAX_LINE = 16_777_216;

/** Passes server-sent events on as they come, and tells what is in them. */
export function watchPaidStream(body: ReadableStream<Uint8Array>, watch: StreamWatch): ReadableStream<Uint8Array> {
  const reader = body.getReader();
  const lines = new LineScanner((line) => {
    const event = eventIn(line);
    if (event) watch.event(event);
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
          lines.end();
          watch.ended();
          controller.close();
        } else {
          controller.enqueue(read.value);
          lines.push(read.value);
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

class LineScanner {
  readonly #decoder = new TextDecoder();
  readonly #onLine: (line: string) => void;
  #rest = "";
  #skips = false;

  constructor(onLine: (line: string) => void) {
    this.#onLine = onLine;
  }

  push(chunk: Uint8Array): void {
    const lines = (this.#rest + this.#decoder.decode(chunk, { stream: true })).split(/\r\n|[\r\n]/);
    this.#rest = lines.pop()!;
    for (const line of lines) {
      if (!this.#skips) this.#onLine(line);
      this.#skips = false;
    }
    if (this.#rest.length > MAX_LINE) [this.#rest, this.#skips] = ["", true];
  }

  end(): void {
    if (this.#rest && !this.#skips) this.#onLine(this.#rest);
  }
}

function eventIn(line: string): Record<string, unknown> | undefined {
  if (!line.startsWith("data:")) return undefined;
  try {
    const event: unknown = JSON.parse(line.slice(5));
    return typeof event === "object" && event !== null ? { ...event } : undefined;
  } catch {
    return undefined;
  }
}
