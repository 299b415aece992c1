import { withoutJoiners } from "../attribution/plain-text.ts";
import type { Trace } from "../attribution/trace.ts";
import { sameBytes } from "../protocol/bytes.ts";
import type { Receipt } from "../protocol/receipt.ts";
import { saltedHash } from "../protocol/salted-hash.ts";
import type { ReadyAgent } from "./agent-shelf.ts";
import { CALL_ANSWERS } from "./tool-use.ts";
import type { JobEvidence } from "./verify-job.ts";

/** Request and answer are those that the receipt stands for, and those of the trace. */
export function checkExchange({ salt, request, response }: JobEvidence, receipt: Receipt, { inputs }: Trace): string[] {
  if (!salt) return [];
  const problems: string[] = [];
  if (request && !sameBytes(saltedHash(salt, request), receipt.voucher.requestHash)) {
    problems.push("The request is not the one that was paid for.");
  }
  if (response && !sameBytes(saltedHash(salt, response), receipt.responseHash)) {
    problems.push("The answer is not the one that the receipt stands for.");
  }
  if (problems.length > 0) return problems;
  const asked = request && (readJson(request) as { body?: AskedBody } | undefined)?.body;
  if (asked && lastQuestion(asked) !== inputs.question) problems.push("The trace is of another question.");
  const given = response && (readJson(response) as AnswerBody | undefined)?.choices?.[0];
  const text = given?.message?.content ?? given?.text;
  const { answer } = inputs;
  if (
    typeof text === "string" &&
    !isAnswer(text.toWellFormed(), answer.text.toWellFormed(), [asked?.stop ?? []].flat())
  ) {
    problems.push("The trace is of another answer.");
  }
  return problems;
}

interface AskedBody {
  messages?: { role: string; content: unknown }[];
  prompt?: unknown;
  stop?: string | string[];
}

interface AnswerBody {
  choices?: { message?: { content?: string }; text?: string }[];
}

/**
 * Whether what stands in the prompt in nobody's name is what the client wrote, and the question where the registered
 * prompt repeats it: an operator that adds words of its own steers the answer, and whom it is owed to.
 */
export function checkClientWords(
  { request }: JobEvidence,
  { inputs }: Trace,
  template: ReadyAgent["template"],
): string[] {
  const asked = request && (readJson(request) as { body?: AskedBody } | undefined)?.body;
  if (!asked) return [];
  const { prompt, question } = inputs;
  const repeated = (template?.pieces ?? []).filter((piece) => "place" in piece && piece.place === "question");
  const written = asked.messages ? asked.messages.map(({ content }) => textOf(content)) : [textOf(asked.prompt)];
  const words = (texts: readonly unknown[]) => withoutJoiners(texts.join(" ")).replace(/\s+/g, " ").trim();
  const parts =
    "parts" in prompt
      ? prompt.parts
      : prompt.messages.flatMap(({ role, parts: own }) =>
          // What the model was told of calls that gave nothing.
          role === "tool" ? own.filter(({ text }) => !CALL_ANSWERS.test(text)) : own,
        );
  const unnamed = parts.flatMap(({ text, source }) => (source === undefined ? [text] : []));
  if (words(unnamed) === words([...repeated.map(() => question), ...written])) return [];
  return ["The prompt holds words that neither the client wrote nor anybody registered."];
}

function lastQuestion({ messages, prompt }: AskedBody): unknown {
  if (!messages) return textOf(prompt);
  return textOf((messages.findLast(({ role }) => role === "user") ?? messages.at(-1))?.content);
}

/** A text, or a list of texts or of parts with text. */
function textOf(content: unknown): unknown {
  if (!Array.isArray(content)) return content;
  return content.map((part) => (typeof part === "string" ? part : ((part as { text?: string }).text ?? ""))).join("");
}

/** What was given may end before a stop string, or before a character that was not whole yet. */
function isAnswer(given: string, spelled: string, stops: readonly string[]): boolean {
  if (given === spelled) return true;
  if (!spelled.startsWith(given)) return false;
  const rest = spelled.slice(given.length);
  return /^\ufffd+$/.test(rest) || stops.some((stop) => rest.startsWith(stop));
}

function readJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    return undefined;
  }
}
