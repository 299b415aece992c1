import type { AnswerPiece } from "../serving/served-job.ts";

/** What a gateway hears of a job that a worker somewhere serves. */
export type JobEvent =
  | ({ readonly type: "piece" } & AnswerPiece)
  /** Answered and charged: `Sequencer.job` has the answer, the trace and the receipt. */
  | { readonly type: "completed" }
  /** Given up without a charge. */
  | { readonly type: "failed"; readonly code: string; readonly message: string };

/**
 * Redis has nothing more of this job, and nobody is working on it: it lost its data, or all this is long past. The
 * journal knows: a job that is completed or failed there has ended. One that is accepted is put back into the queue, and
 * whoever keeps listening gets the pieces that it has not had yet. May be said more than once.
 */
export interface LostEvent {
  readonly type: "lost";
}

export function isEnd(event: JobEvent): boolean {
  return event.type !== "piece";
}
