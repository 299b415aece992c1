import type { PaymentOutcome } from "./quote.ts";
import { paymentOutcomeOf } from "./x402/payment-response.ts";

/** What a reader of a paid stream is told. Each is called at most once, and only one of the last three. */
export interface StreamWatch {
  /** The stream carries what became of the payment. What this throws breaks the stream off. */
  outcome(outcome: PaymentOutcome): void;
  /** It came to its end. */
  ended(): void;
  /** The connection broke. */
  broken(): void;
  /** Its reader went away. */
  left(): void;
}

/** Characters of one line at most; a longer one is not looked into. */
const MAX_LINE = 1_048_576;

/** Passes server-sent events on as they come, and finds in them what became of the payment (member `payment`). */
export function watchPaidStream(body: ReadableStream<Uint8Array>, watch: StreamWatch): ReadableStream<Uint8Array> {
  const reader = body.getReader();
  const lines = new LineScanner((line) => {
    const outcome = outcomeIn(line);
    if (outcome) watch.outcome(outcome);
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

function outcomeIn(line: string): PaymentOutcome | undefined {
  if (!line.startsWith("data:") || !line.includes('"payment"')) return undefined;
  let event: unknown;
  try {
    event = JSON.parse(line.slice(5));
  } catch {
    return undefined;
  }
  const payment = (event as { payment?: unknown } | null)?.payment;
  return payment === undefined ? undefined : paymentOutcomeOf(payment);
}
