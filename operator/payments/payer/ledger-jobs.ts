import { type Hex, toHex } from "../../protocol/bytes.ts";
import type { SignedVoucher } from "../../protocol/voucher.ts";
import { decodeVoucher } from "../../settlement/journal/voucher-bytes.ts";
import type { SignedFor } from "./check-receipt.ts";

/** `signed`: nothing is known of it yet. `forgotten`: the operator gave it up or never took it. */
export type PayerJobState = "signed" | "charged" | "forgotten";

/** A job as the payer's ledger has it. Amounts are wei of OPEN, times seconds since 1970. */
export interface PayerJob {
  jobId: Hex;
  state: PayerJobState;
  voucher: SignedVoucher;
  signedAt: number;
  price?: bigint;
  /** Where its receipt stands among the operator's. */
  position?: number;
  /** Why it was forgotten. */
  reason?: string;
}

/** A job in the ledger's file (`ledger-schema.ts`). */
export interface JobRow {
  nonce: number;
  id: Uint8Array;
  state: PayerJobState;
  loss: "unknown" | "left" | null;
  voucher: Uint8Array;
  signed_at: number;
  sent_at: number | null;
  header: string | null;
  job_price: string | null;
  prompt_price: string | null;
  completion_price: string | null;
  price: string | null;
  charged: string | null;
  position: number | null;
  receipt: Uint8Array | null;
  reason: string | null;
}

/** What its receipt is checked against. */
export function signedFor(row: JobRow): SignedFor {
  const voucher = decodeVoucher(row.voucher);
  if (row.job_price === null) return { voucher };
  const terms = {
    pricePerJob: BigInt(row.job_price),
    pricePerPromptToken: BigInt(row.prompt_price!),
    pricePerCompletionToken: BigInt(row.completion_price!),
  };
  return { voucher, terms };
}

export function jobOf(row: JobRow): PayerJob {
  return {
    jobId: toHex(row.id),
    state: row.state,
    voucher: decodeVoucher(row.voucher),
    signedAt: row.signed_at,
    ...(row.price === null ? {} : { price: BigInt(row.price), position: row.position! }),
    ...(row.reason === null ? {} : { reason: row.reason }),
  };
}
