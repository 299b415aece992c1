import { setTimeout as sleep } from "node:timers/promises";
import type { PayerLedger } from "../../operator/payments/payer/payer-ledger.ts";
import { payingFetch } from "../../operator/payments/paying-fetch.ts";
import { PaymentError } from "../../operator/payments/payment-error.ts";
import type { Hex } from "../../operator/protocol/bytes.ts";

/** Something asked once, however often it was sent. */
export interface Asked {
  question: string;
  isStream: boolean;
  /** Whether its asker goes away after the first words. */
  leaves: boolean;
  /** Sent along, and ignored by the operator. */
  metadata?: unknown;
  /** Jobs that were signed for it, as far as the asker heard of their end. */
  ended: { jobId: Hex; state: string }[];
  answer?: string;
  /** Times that it was sent anew. */
  again: number;
}

/** Milliseconds before a question without an answer is asked again. */
const PAUSE = 300;
const TOKENS = 24;
const FATAL = new Set(["operatorLied", "foreignLedger", "malformed", "unknownTerms"]);

/** Somebody who pays for answers, and asks again until there is one. */
export class Customer {
  readonly ledger: PayerLedger;
  readonly asked: Asked[] = [];
  /** What went wrong on the way, by what it was. */
  readonly troubles = new Map<string, number>();
  /** Set when the operator was found to be lying, or the ledger broke: must not happen, whatever is killed. */
  fatal: Error | undefined;
  readonly #url: string;
  readonly #over: AbortSignal;
  readonly #model: string;

  /** @param given.over Ends all waiting, without an answer. */
  constructor(ledger: PayerLedger, given: { url: string; model: string; over: AbortSignal }) {
    this.ledger = ledger;
    this.#url = given.url;
    this.#model = given.model;
    this.#over = given.over;
  }

  /** Whether nothing is asked any more. */
  get hasLeft(): boolean {
    return this.fatal !== undefined || this.#over.aborted;
  }

  /** Asks until there is an answer; or asks once, and leaves. */
  async ask(question: string, given: Partial<Pick<Asked, "isStream" | "leaves" | "metadata">> = {}): Promise<Asked> {
    const asked: Asked = { isStream: false, leaves: false, ...given, question, ended: [], again: 0 };
    this.asked.push(asked);
    while (asked.answer === undefined && !this.hasLeft) {
      try {
        await this.#send(asked);
      } catch (error) {
        this.#note(error as Error);
      }
      if (asked.leaves) break;
      if (asked.answer === undefined) {
        asked.again++;
        await sleep(PAUSE);
      }
    }
    return asked;
  }

  async #send(asked: Asked): Promise<void> {
    const leaving = new AbortController();
    const fetch = payingFetch({
      ledger: this.ledger,
      onOutcome: ({ jobId, outcome }) => asked.ended.push({ jobId, state: outcome.state }),
    });
    const response = await fetch(`${this.#url}/v1/chat/completions`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      signal: AbortSignal.any([leaving.signal, this.#over]),
      body: JSON.stringify({
        model: this.#model,
        messages: [{ role: "user", content: asked.question }],
        max_tokens: asked.leaves ? 4 * TOKENS : TOKENS,
        temperature: 0,
        ...(asked.isStream && { stream: true }),
        ...(asked.metadata !== undefined && { metadata: asked.metadata }),
      }),
    });
    if (!response.ok) {
      await response.text();
      throw new Error(`status ${response.status}`);
    }
    if (!asked.isStream) {
      asked.answer = JSON.parse(await response.text()).choices[0].message.content;
      return;
    }
    asked.answer = await readStream(response, () => asked.leaves && leaving.abort());
  }

  #note(error: Error): void {
    const isFatal = error instanceof PaymentError && FATAL.has(error.code);
    if (isFatal || /sqlite/i.test(error.message)) this.fatal ??= error;
    const what = error instanceof PaymentError ? `${error.code} ${error.details.reason ?? ""}` : error.message;
    this.troubles.set(what, (this.troubles.get(what) ?? 0) + 1);
  }
}

/** @throws Error When the stream breaks off, or ends with an error. */
async function readStream(response: Response, onText: () => void): Promise<string> {
  let rest = "";
  let text = "";
  for await (const chunk of response.body!.pipeThrough(new TextDecoderStream())) {
    const events = (rest + chunk).split("\n\n");
    rest = events.pop()!;
    for (const event of events) {
      if (!event.startsWith("data: ")) continue;
      if (event === "data: [DONE]") return text;
      const data = JSON.parse(event.slice(6));
      if (data.error) throw new Error(`stream: ${data.error.code}`);
      const piece = data.choices?.[0]?.delta?.content;
      if (!piece) continue;
      text += piece;
      onText();
    }
  }
  throw new Error("The stream broke off.");
}
