import type { DatabaseSync } from "node:sqlite";
import { fromHex, type Hex, sameBytes, toHex } from "../../protocol/bytes.ts";
import { domainSeparator, type SignedVoucher, type VoucherDomain } from "../../protocol/voucher.ts";
import { decodeVoucher } from "../../settlement/journal/voucher-bytes.ts";
import { PaymentError } from "../payment-error.ts";
import { decodePaymentSignature } from "../x402/payment-signature.ts";
import { openKnownLedger } from "./ledger-schema.ts";

/** What came of doing a job again; `unchecked`: it could not be done. */
export type JobVerdict = "verified" | "misattributed" | "unchecked";

/** A job that was paid for and not yet done again. */
export interface UnexaminedJob {
  jobId: Hex;
  voucher: SignedVoucher;
  /** Seconds since 1970. */
  signedAt: number;
}

/** What its payer has of a job. */
export interface PaidJob {
  /** Body of the receipt that came with the answer. */
  receipt: Uint8Array;
  salt: Uint8Array;
  /** As they were hashed, where they are still kept. */
  request?: Uint8Array;
  response?: Uint8Array;
}

/** Jobs looked at in one round at most: the newest. */
const MOST_JOBS = 10_000;
/** How often a job is tried that could not be done again. */
const MOST_TRIES = 3;

/** The jobs of a payer's ledger, for whoever does them again. It needs no session key, and signs nothing. */
export class PaidJobs {
  readonly channel: number;
  readonly #domain: VoucherDomain;
  readonly #database: DatabaseSync;

  /** @throws {PaymentError} `foreignLedger` when the file is no ledger, or one of another chain or contract. */
  constructor(file: string, domain: VoucherDomain) {
    const { database, identity } = openKnownLedger(file);
    this.channel = identity.channel;
    this.#domain = domain;
    this.#database = database;
    if (sameBytes(identity.separator, domainSeparator(domain))) return;
    database.close();
    throw new PaymentError("foreignLedger", `${file} is the ledger of another chain or contract.`);
  }

  close(): void {
    this.#database.close();
  }

  /**
   * Jobs with a receipt that nothing is known of yet, or that could not be done again once or twice: the newest first.
   *
   * @param since Seconds since 1970: those signed earlier are left out.
   */
  unexamined(since: number): UnexaminedJob[] {
    const rows = this.#database
      .prepare(
        `SELECT id, voucher, signed_at FROM job LEFT JOIN examined USING (nonce)
          WHERE state = 'charged' AND header IS NOT NULL AND signed_at >= ?
            AND (verdict IS NULL OR verdict = 'unchecked' AND tries < ?)
          ORDER BY nonce DESC LIMIT ?`,
      )
      .all(since, MOST_TRIES, MOST_JOBS) as unknown as { id: Uint8Array; voucher: Uint8Array; signed_at: number }[];
    return rows.map(({ id, voucher, signed_at }) => {
      return { jobId: toHex(id), voucher: decodeVoucher(voucher), signedAt: signed_at };
    });
  }

  /** @throws {PaymentError} `malformed` for a job that is not of {@link unexamined}. */
  job(jobId: Hex): PaidJob {
    const row = this.#database
      .prepare("SELECT receipt, header, request, response FROM job LEFT JOIN exchange USING (nonce) WHERE id = ?")
      .get(fromHex(jobId)) as Record<"receipt" | "request" | "response", Uint8Array | null> & { header: string | null };
    if (!row?.receipt || row.header === null) throw new PaymentError("malformed", `Job ${jobId} was not paid here.`);
    return {
      receipt: row.receipt,
      salt: fromHex(decodePaymentSignature(row.header, this.#domain).salt),
      ...(row.request && { request: row.request }),
      ...(row.response && { response: row.response }),
    };
  }

  /** Writes down what came of a job, so that no other round takes it. @param at Seconds since 1970. */
  note(jobId: Hex, { verdict, detail, at }: { verdict: JobVerdict; detail: string; at: number }): void {
    this.#database
      .prepare(
        `INSERT INTO examined (nonce, verdict, tries, at, detail) SELECT nonce, ?, 1, ?, ? FROM job WHERE id = ?
          ON CONFLICT (nonce) DO UPDATE SET verdict = excluded.verdict, tries = tries + 1, at = excluded.at,
            detail = excluded.detail`,
      )
      .run(verdict, at, detail, fromHex(jobId));
  }
}
