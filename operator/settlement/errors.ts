import type { Refusal } from "../protocol/admission.ts";

/** What errors of the settlement have in common: a code for programs, a sentence for people, values for both. */
export class SettlementError extends Error {
  readonly code: string;
  readonly details: Readonly<Record<string, string>>;

  constructor(code: string, message: string, details: Record<string, string> = {}, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
    this.code = code;
    this.details = details;
  }
}

export type AdmissionCode =
  | Refusal
  | "malformedVoucher"
  | "requestMismatch"
  | "unknownChannel"
  | "badSignature"
  | "unknownAgentVersion";

/** A voucher that is not admitted. Nothing was stored and nothing is reserved. */
export class AdmissionError extends SettlementError {
  declare readonly code: AdmissionCode;
}

export type JobCode = "unknownJob" | "jobFailed" | "jobCompleted" | "hashMismatch" | "receiptRefused";

/** Something that cannot be done with a job as it stands. Nothing was changed. */
export class JobError extends SettlementError {
  declare readonly code: JobCode;
}

export type JournalCode = "locked" | "foreign" | "unknownSchema" | "full" | "failed" | "corrupt" | "closed";

/** A journal that cannot be opened, written or believed. With `full` and `failed` nothing of the request was kept. */
export class JournalError extends SettlementError {
  declare readonly code: JournalCode;
}

/** A sequencer that cannot be asked: whether the request was carried out is unknown, and asking again is safe. */
export class SequencerUnreachable extends SettlementError {
  constructor(message: string, options?: ErrorOptions) {
    super("unreachable", message, {}, options);
  }
}
