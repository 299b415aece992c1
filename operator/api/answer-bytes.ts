import { canonicalJson, type Json } from "../protocol/canonical-json.ts";
import type { ServedAnswer } from "../serving/served-job.ts";
import type { JobRecord } from "../settlement/sequencer.ts";
import { requestOf } from "./asked-job.ts";
import { CHAT_PATH } from "./inference-request.ts";
import { chatLogprobs, completionLogprobs } from "./logprobs.ts";

/** Token counts as OpenAI names them. */
export interface AnswerUsage {
  prompt_tokens: number;
  completion_tokens: number;
  total_tokens: number;
}

/** Why an answer ended. `length` also where the client left before its end. */
export type AnswerFinish = "stop" | "length";

/** The part of an answer that depends on nothing but the job: OpenAI's shape without ids and times. */
export interface StoredAnswer {
  object: "chat.completion" | "text_completion";
  /** As the client wrote it. */
  model: string;
  choices: [
    {
      index: 0;
      /** Of a chat completion. */
      message?: { role: "assistant"; content: string; refusal: null };
      /** Of a completion. */
      text?: string;
      logprobs: unknown;
      finish_reason: AnswerFinish;
    },
  ];
  usage: AnswerUsage;
}

/**
 * The bytes that the receipt's response hash stands for: canonical JSON (RFC 8785) of {@link StoredAnswer}. A job that
 * is served again in the same way has the same bytes.
 *
 * @throws {InvalidRequest} When the job's request is none, which {@link askedJobOf} has found out before.
 */
export function answerBytes(job: Pick<JobRecord, "request">, answer: ServedAnswer): Uint8Array {
  const { path, model } = requestOf(job.request);
  const { promptTokens, completionTokens } = answer;
  const isChat = path === CHAT_PATH;
  const text = answer.text.toWellFormed();
  const scored = answer.logprobs;
  const stored: StoredAnswer = {
    object: isChat ? "chat.completion" : "text_completion",
    model,
    choices: [
      {
        index: 0,
        ...(isChat ? { message: { role: "assistant", content: text, refusal: null } } : { text }),
        logprobs: scored ? (isChat ? chatLogprobs(scored) : completionLogprobs(scored)) : null,
        finish_reason: answer.end === "stop" ? "stop" : "length",
      },
    ],
    usage: {
      prompt_tokens: promptTokens,
      completion_tokens: completionTokens,
      total_tokens: promptTokens + completionTokens,
    },
  };
  return new TextEncoder().encode(canonicalJson(stored as unknown as Json));
}

/** Reads what {@link answerBytes} wrote. */
export function readAnswer(response: Uint8Array): StoredAnswer {
  return JSON.parse(new TextDecoder().decode(response)) as StoredAnswer;
}
