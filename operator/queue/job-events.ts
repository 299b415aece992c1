import type { AnswerPiece } from "../serving/served-job.ts";

/** What a gateway hears of a job that a worker somewhere serves. */
export type JobEvent =
  | ({ readonly type: "piece" } & AnswerPiece)
  /** Answered and charged: `Sequencer.job` has the answer, the trace and the receipt. */
  | { readonly type: "completed" }
  /** Given up without a charge. */
  | { readonly type: "failed"; readonly code: string; readonly message: string };
