import type { Hex } from "../protocol/bytes.ts";
import type { AttributionEntry } from "../protocol/receipt.ts";
import type { SignedVoucher, Voucher } from "../protocol/voucher.ts";

/** Where a job stands: paid for and not yet answered, answered and charged, or given up without a charge. */
export type JobState = "accepted" | "completed" | "failed";

/** A paid request, as a gateway hands it in. */
export interface PaidRequest {
  voucher: Voucher;
  /** The session key's, 65 bytes. */
  signature: Hex;
  /** The request in its canonical form. */
  request: Uint8Array;
  /** 32 bytes; with them the request's hash is the voucher's `requestHash` (`operator/protocol/salted-hash.ts`). */
  salt: Hex;
}

export interface AdmittedJob {
  /** `known`: this voucher was admitted before, and nothing was done now. */
  status: "admitted" | "known";
  /** The voucher's digest. */
  jobId: Hex;
  state: JobState;
}

/** What a worker made of a job. */
export interface Outcome {
  /** Hash of the answer with the request's salt, 32 bytes. */
  responseHash: Hex;
  /** Keccak-256 of the trace, 32 bytes. */
  traceHash: Hex;
  promptTokens: number;
  completionTokens: number;
  /** The pools, as {@link Receipt} of the protocol has them. */
  context: AttributionEntry[];
  training: AttributionEntry[];
  tools: AttributionEntry[];
  response: Uint8Array;
  trace: Uint8Array;
}

/** A receipt where the operator keeps it. */
export interface ReceiptRecord {
  jobId: Hex;
  channel: number;
  /** Place among all receipts of this operator, from 1; never given twice. */
  position: number;
  /** Sequence number of the batch that holds it, and its index there. */
  batch: number;
  index: number;
  /** Wei of OPEN. */
  price: bigint;
  /** All that the channel has been charged with this receipt, in wei of OPEN. */
  charged: bigint;
  /** The receipt's bytes, and the root of the state after it. */
  body: Uint8Array;
  stateRoot: Uint8Array;
  /** Seconds since 1970. */
  completedAt: number;
}

/** A job with all that is known of it. */
export interface JobRecord {
  jobId: Hex;
  state: JobState;
  voucher: SignedVoucher;
  request: Uint8Array;
  salt: Uint8Array;
  /** Seconds since 1970. */
  admittedAt: number;
  /** Why it was given up. */
  reason?: string;
  /** Once it is completed. Old requests, answers and traces may have been emptied; receipts stay. */
  receipt?: ReceiptRecord;
  response?: Uint8Array;
  trace?: Uint8Array;
}

/** A channel as the operator's books have it. Amounts are wei of OPEN. */
export interface ChannelStatement {
  charged: bigint;
  /** What the jobs in flight may cost at most. */
  reserved: bigint;
  /** At most 256 receipts, ascending by position. */
  receipts: ReceiptRecord[];
}

/**
 * The one writer of an operator's books. What it has answered is on the disk; every call may be repeated, and repeating
 * it changes nothing.
 *
 * Every method that writes throws {@link JournalError} when the journal could not take it: nothing has happened then.
 */
export interface Sequencer {
  /**
   * Checks a voucher, stores it with its request and reserves its price.
   *
   * @throws {AdmissionError} When the voucher is not good for this request, channel and agent version now.
   */
  admit(paid: PaidRequest): Promise<AdmittedJob>;

  /**
   * Charges a job: its price and its receipt. A job that is completed keeps its first receipt, which is given again.
   *
   * @throws {JobError} When the job is unknown or has failed, a hash is not of the bytes beside it, or the rules of the
   * protocol would make the receipt a lie (`details.verdict` names the rule); the job is then still in flight.
   */
  complete(jobId: Hex, outcome: Outcome): Promise<ReceiptRecord>;

  /**
   * Gives a job up: its reservation is free, nothing is charged, and its nonce may be used again.
   *
   * @throws {JobError} When the job is unknown or completed.
   */
  fail(jobId: Hex, reason: string): Promise<void>;

  job(jobId: Hex): Promise<JobRecord | undefined>;

  /**
   * What a channel has been charged and may yet be.
   *
   * @param since Position of the last receipt that the asker has; those after it are given.
   */
  channel(channel: number, since?: bigint): Promise<ChannelStatement>;

  /** Jobs in flight, in the order of their admission: whoever lost the queue fills it again with them. */
  unfinished(): AsyncIterable<JobRecord>;
}
