import type { Hex } from "../protocol/bytes.ts";
import type { PriceTerms } from "../protocol/price.ts";
import type { VoucherDomain } from "../protocol/voucher.ts";
import type { ChannelStatement, ReceiptRecord } from "../settlement/sequencer.ts";

/** Who will serve what at which prices (wei of OPEN). */
export interface JobTerms extends PriceTerms {
  operator: number;
  agent: number;
  version: number;
}

/** What an operator asks for a request. */
export interface Quote {
  terms: JobTerms;
  /** The contract that the voucher is for. */
  domain: VoucherDomain;
  /** Address of OPEN. */
  asset: Hex;
  /** The most that the answer may cost, in wei of OPEN: what the voucher is to allow. */
  maxPrice: bigint;
  /** The longest life of a voucher, in seconds. */
  voucherLife: number;
  /** How the channel stands, when the asker named one. */
  statement?: QuotedStatement;
}

/** A channel as the operator's books have it, with proofs of what it was charged. Amounts are wei of OPEN. */
export interface QuotedStatement {
  channel: number;
  /** All that the channel has been charged. */
  charged: bigint;
  /** What its jobs in flight may cost at most. */
  reserved: bigint;
  /** The least cap that a voucher for this request needs. */
  requiredCap: bigint;
  /** Receipts after the one that the asker named, ascending by position. */
  receipts: QuotedReceipt[];
  /** Whether these are all: if not, ask again from the last one. */
  isComplete: boolean;
}

export interface QuotedReceipt {
  /** Place among all receipts of the operator. */
  position: number;
  /** All that the channel was charged with this receipt, in wei of OPEN. */
  charged: bigint;
  /** The receipt's bytes. */
  body: Uint8Array;
}

/** Receipts that a header can carry: Node reads 16 KiB of headers. */
const RECEIPTS_IN_HEADER = 6;

/** What a gateway puts into its quote of what the sequencer knows of a channel. */
export function quoteStatement(channel: number, statement: ChannelStatement, maxPrice: bigint): QuotedStatement {
  const { charged, reserved } = statement;
  const receipts = statement.receipts.slice(0, RECEIPTS_IN_HEADER).map(({ position, charged, body }) => ({
    position,
    charged,
    body,
  }));
  const isComplete = receipts.length === statement.receipts.length;
  return { channel, charged, reserved, requiredCap: charged + reserved + maxPrice, receipts, isComplete };
}

/** What a completed job was charged, with the proof. Amounts are wei of OPEN. */
export interface JobCharge extends QuotedReceipt {
  price: bigint;
  /** Where the receipt is settled: the batch's sequence number, and the index in it. */
  batch: number;
  index: number;
}

/** What became of a paid job. */
export type PaymentOutcome =
  | { state: "accepted"; jobId: Hex }
  | { state: "completed"; jobId: Hex; charge: JobCharge }
  /** Given up; nothing is charged. */
  | { state: "failed"; jobId: Hex; reason: string };

/** The outcome of a job that has its receipt. */
export function completedPayment(record: ReceiptRecord): PaymentOutcome {
  const { jobId, price, charged, position, batch, index, body } = record;
  return { state: "completed", jobId, charge: { price, charged, position, batch, index, body } };
}
