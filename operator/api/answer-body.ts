import type { Hex } from "../protocol/bytes.ts";
import type { JobRecord } from "../settlement/sequencer.ts";
import { type AnswerFinish, type AnswerUsage, readAnswer, type StoredAnswer } from "./answer-bytes.ts";
import type { Attribution } from "./attribution.ts";
import { chatLogprobs, completionLogprobs, type ScoredToken } from "./logprobs.ts";

/** Id and time of an answer as clients see them; both follow from the job. */
function answerIdentity(job: Pick<JobRecord, "jobId" | "admittedAt">, isChat: boolean) {
  return { id: `${isChat ? "chatcmpl" : "cmpl"}-${job.jobId.slice(2)}`, created: job.admittedAt };
}

/** What a gateway adds to an answer: where its price went, and the payment's outcome where no header can carry it. */
export interface AnswerExtras {
  attribution: Attribution | { job_id: Hex };
  payment?: unknown;
}

/**
 * The body of an answer that is not streamed.
 *
 * @param job Completed.
 */
export function answerBody(job: JobRecord, extras: AnswerExtras) {
  const stored = readAnswer(job.response!);
  return { ...answerIdentity(job, stored.object === "chat.completion"), ...stored, ...extras };
}

/** All text of a stored answer. */
export function answerText({ choices: [choice] }: StoredAnswer): string {
  return choice.message?.content ?? choice.text ?? "";
}

/** The chunks of one streamed answer, in OpenAI's shape. */
export interface ChunkWriter {
  /** The first chunk, where there is one: it names the role. */
  opening(): object | undefined;
  piece(text: string, logprobs: readonly ScoredToken[] | undefined): object;
  /** What the pieces left out, from the stored answer; `logprobs` as they stand there. */
  rest(text: string, logprobs: unknown): object;
  closing(finish: AnswerFinish, extras: AnswerExtras | undefined): object;
  usage(usage: AnswerUsage, extras: AnswerExtras): object;
}

/** @param model As the client wrote it. */
export function chunksOf(job: Pick<JobRecord, "jobId" | "admittedAt">, model: string, isChat: boolean): ChunkWriter {
  const frame = {
    ...answerIdentity(job, isChat),
    object: isChat ? "chat.completion.chunk" : "text_completion",
    model,
  };
  let characters = 0;
  const chunk = (content: object, logprobs: unknown, finish_reason: AnswerFinish | null) => ({
    ...frame,
    choices: [{ index: 0, ...content, logprobs, finish_reason }],
  });
  const textOf = (text: string, isFirst = false) =>
    isChat ? { delta: { ...(isFirst && { role: "assistant" }), content: text } } : { text };
  return {
    opening: () => (isChat ? chunk(textOf("", true), null, null) : undefined),
    piece: (text, scored) => {
      const logprobs = scored && (isChat ? chatLogprobs(scored) : completionLogprobs(scored, characters));
      for (const { token } of scored ?? []) characters += token.length;
      return chunk(textOf(text), logprobs ?? null, null);
    },
    rest: (text, logprobs) => chunk(textOf(text), logprobs, null),
    closing: (finish, extras) => ({ ...chunk(isChat ? { delta: {} } : { text: "" }, null, finish), ...extras }),
    usage: (usage, extras) => ({ ...frame, choices: [], usage, ...extras }),
  };
}
