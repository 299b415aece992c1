import { answerBody, answerText, chunksOf } from "../api/answer-body.ts";
import { readAnswer } from "../api/answer-bytes.ts";
import type { Attribution } from "../api/attribution.ts";
import { CHAT_PATH, type InferenceRequest } from "../api/inference-request.ts";
import { completedPayment, type PaymentOutcome } from "../payments/quote.ts";
import { encodePaymentResponse, settleResponse } from "../payments/x402/payment-response.ts";
import { PAYMENT_HEADERS } from "../payments/x402/wire.ts";
import type { Hex } from "../protocol/bytes.ts";
import { decodeReceipt } from "../protocol/receipt.ts";
import type { JobRecord, ReceiptRecord } from "../settlement/sequencer.ts";
import { ApiError } from "./api-error.ts";
import type { JobNews } from "./follow-job.ts";

/** How an answer went, for counting. Times are milliseconds since the request was taken. */
export interface Answered {
  /** `left`: the client did not wait for the end. */
  outcome: "completed" | "failed" | "left";
  promptTokens: number;
  completionTokens: number;
  firstTokenMs?: number;
  totalMs: number;
}

/** What answering a job needs beside its news. */
export interface AnswerContext {
  request: InferenceRequest;
  chainId: bigint;
  attribution: (record: ReceiptRecord) => Attribution | { job_id: Hex };
}

/** HTTP status of what a job may be given up with. Whatever is not here may go better another time. */
const FAILURES: Record<string, number> = {
  invalidRequest: 400,
  promptTooLong: 400,
  priceTooLow: 400,
  // The answer's client left; whoever asks again signs again.
  cancelled: 409,
  expired: 409,
  rateLimited: 429,
};

/** The error with which a failed job is answered. Nothing was charged. */
export function failureOf(job: JobRecord, chainId: bigint): ApiError {
  const reason = job.reason ?? "no reason given";
  const code = /^(\w+): /.exec(reason)?.[1] ?? "failed";
  const outcome: PaymentOutcome = { state: "failed", jobId: job.jobId, reason };
  const message = `${reason.slice(reason.startsWith(`${code}: `) ? code.length + 2 : 0)} Nothing was charged.`;
  const headers = { [PAYMENT_HEADERS.response]: encodePaymentResponse(outcome, chainId) };
  return new ApiError(FAILURES[code] ?? 503, message, { code, headers });
}

/** The whole answer of a completed job. */
export function wholeAnswer(job: JobRecord, { chainId, attribution }: AnswerContext): Response {
  const outcome = completedPayment(job.receipt!);
  return Response.json(answerBody(job, { attribution: attribution(job.receipt!) }), {
    headers: { [PAYMENT_HEADERS.response]: encodePaymentResponse(outcome, chainId) },
  });
}

/**
 * A job's answer as server-sent events in OpenAI's shape. The last chunk before `[DONE]` carries `attribution` and
 * `payment`. A job that fails once the stream has begun ends it with an `error`.
 *
 * @param model As the client wrote it, and the time of admission: both stand in every chunk.
 */
export async function* answerEvents(
  job: Pick<JobRecord, "jobId" | "admittedAt">,
  news: AsyncIterable<JobNews>,
  context: AnswerContext,
): AsyncGenerator<string> {
  const { request, chainId } = context;
  const chunks = chunksOf(job, request.model, request.path === CHAT_PATH);
  const opening = chunks.opening();
  if (opening) yield event(opening);
  let sent = "";
  for await (const item of news) {
    if (item.kind === "pulse") {
      yield ": still working\n\n";
    } else if (item.kind === "piece") {
      const { text, logprobs } = item.piece;
      sent += text;
      yield event(chunks.piece(text, logprobs));
    } else if (item.job.state === "failed") {
      const { jobId, reason = "no reason given" } = item.job;
      const payment = settleResponse({ state: "failed", jobId, reason }, chainId);
      return yield event({ ...failureOf(item.job, chainId).body, payment });
    } else {
      const stored = readAnswer(item.job.response!);
      const text = answerText(stored);
      if (!text.startsWith(sent)) {
        const message = "The job was served twice and said something else. Send the same voucher for the whole answer.";
        return yield event(new ApiError(503, message, { code: "answer_changed" }).body);
      }
      // Pieces that the queue lost on the way.
      const logprobs = sent === "" ? stored.choices[0].logprobs : null;
      if (text.length > sent.length) yield event(chunks.rest(text.slice(sent.length), logprobs));
      const record = item.job.receipt!;
      const payment = settleResponse(completedPayment(record), chainId);
      const extras = { attribution: context.attribution(record), payment };
      yield event(chunks.closing(stored.choices[0].finish_reason, request.includeUsage ? undefined : extras));
      if (request.includeUsage) yield event(chunks.usage(stored.usage, extras));
      return yield "data: [DONE]\n\n";
    }
  }
}

/** An error in a stream that has begun. */
export function errorEvent(error: ApiError): string {
  return event(error.body);
}

/** Watches a job's news go by. */
export async function* countNews(
  news: AsyncIterable<JobNews>,
  onEnd: (answered: Answered) => void,
): AsyncGenerator<JobNews> {
  const start = performance.now();
  let answered: Answered = { outcome: "left", promptTokens: 0, completionTokens: 0, totalMs: 0 };
  try {
    for await (const item of news) {
      if (item.kind === "piece") answered.firstTokenMs ??= performance.now() - start;
      if (item.kind === "ended") {
        const receipt = item.job.receipt && decodeReceipt(item.job.receipt.body);
        const { promptTokens = 0, completionTokens = 0 } = receipt ?? {};
        answered = { ...answered, outcome: receipt ? "completed" : "failed", promptTokens, completionTokens };
      }
      yield item;
    }
  } finally {
    onEnd({ ...answered, totalMs: performance.now() - start });
  }
}

function event(value: object): string {
  return `data: ${JSON.stringify(value)}\n\n`;
}
