import { createInterface } from "node:readline/promises";
import { text as readAll } from "node:stream/consumers";
import type { ReadableStream as WebStream } from "node:stream/web";
import { plainMessage } from "../../chain/plain-message.ts";
import { parseServerSentEvents } from "../../engine/remote/server-sent-events.ts";
import { type PaidOutcome, payingFetch } from "../../payments/paying-fetch.ts";
import { note } from "../chain/chain-session.ts";
import { interruptible } from "../interrupt.ts";
import { openPayer } from "./open-payer.ts";
import { earnerLines, outcomeLine, printable } from "./outcome-lines.ts";
import type { PayerOptions } from "./payer-options.ts";

export interface ChatOptions extends PayerOptions {
  model: string;
  maxTokens?: number;
  json: boolean;
}

interface Message {
  role: "user" | "assistant";
  content: string;
}

interface Answer {
  text: string;
  attribution: unknown;
  paid: PaidOutcome | undefined;
  /** With it the job can be verified. */
  salt: string | undefined;
}

/** `openledger chat` */
export async function chat(given: string | undefined, options: ChatOptions): Promise<void> {
  if (given === undefined && options.json) throw new Error("With --json, give a message.");
  const ledger = await openPayer(options);
  try {
    let paid: PaidOutcome | undefined;
    const { maxPrice, maxTotal, json } = options;
    const pay = payingFetch({
      ledger,
      maxPricePerRequest: maxPrice,
      maxTotal,
      onOutcome: (outcome) => {
        paid = outcome;
      },
    });
    const history: Message[] = [];
    const answer = async (content: string, signal: AbortSignal) => {
      paid = undefined;
      history.push({ role: "user", content });
      const { text, attribution } = await stream(pay, options, history, signal).catch((error) => {
        history.pop();
        throw error;
      });
      history.push({ role: "assistant", content: text });
      const outcome = paid as PaidOutcome | undefined;
      const salt = outcome && ledger.saltOf(outcome.jobId);
      const made: Answer = { text, attribution, paid: outcome, salt };
      if (json) printJson(made);
      else {
        process.stdout.write("\n");
        if (outcome) note(`\n${outcomeLine(outcome, ledger.balance())}`);
        for (const line of earnerLines(attribution)) note(`  ${line}`);
        if (outcome && salt) note(`  verify it: openledger verify job ${outcome.jobId} --salt ${salt}`);
      }
    };
    if (given === undefined) return await converse(answer);
    const message = given === "-" ? await readAll(process.stdin) : given;
    await interruptible((signal) => answer(message, signal));
  } finally {
    ledger.close();
  }
}

async function converse(answer: (content: string, signal: AbortSignal) => Promise<void>): Promise<void> {
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    terminal.setPrompt("\n> ");
    terminal.prompt();
    for await (const line of terminal) {
      try {
        if (line.trim() !== "") await interruptible((signal) => answer(line, signal));
      } catch (error) {
        // What went wrong with one question need not end the conversation.
        note(`\n${plainMessage(error)}`);
      }
      terminal.prompt();
    }
  } finally {
    terminal.close();
  }
}

/** Asks, prints the words as they come, and gives the whole answer. */
async function stream(pay: typeof fetch, options: ChatOptions, messages: Message[], signal: AbortSignal) {
  const { operatorUrl, model, maxTokens, json } = options;
  const limit = maxTokens === undefined ? {} : { max_tokens: maxTokens };
  const response = await pay(`${operatorUrl}/v1/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ model, messages, stream: true, ...limit }),
    signal,
  });
  if (!response.ok || !response.body) throw new Error(await refusalOf(response));
  let text = "";
  let attribution: unknown;
  for await (const { data } of parseServerSentEvents(response.body as WebStream<Uint8Array>)) {
    if (data === "[DONE]") continue;
    const event = JSON.parse(data);
    if (event.error) throw new Error(printable(String(event.error.message)));
    const piece = event.choices?.[0]?.delta?.content;
    if (typeof piece === "string") {
      text += piece;
      if (!json) process.stdout.write(printable(piece));
    }
    attribution ??= event.attribution;
  }
  return { text, attribution };
}

async function refusalOf(response: Response): Promise<string> {
  const body = (await response.json().catch(() => undefined)) as { error?: { message?: unknown } } | undefined;
  const said = body?.error?.message;
  return typeof said === "string" ? printable(said) : `The operator answered with status ${response.status}.`;
}

function printJson({ text, attribution, paid, salt }: Answer): void {
  const outcome = paid?.outcome;
  const price = outcome?.state === "completed" ? { price: String(outcome.charge.price) } : {};
  console.log(JSON.stringify({ answer: text, job: paid?.jobId, salt, ...price, attribution }));
}
