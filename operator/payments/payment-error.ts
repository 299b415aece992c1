/** Why a payment was not made, not taken, or cannot be believed. */
export type PaymentCode =
  /** A header or a body of the payment protocol cannot be read, or is too large. */
  | "malformed"
  /** The operator asks for payment in a way that this payer does not know, or on another chain or contract. */
  | "unknownTerms"
  /** The terms ask for more than the payer's limits allow. */
  | "priceAboveLimit"
  | "totalAboveLimit"
  /** The operator would not take the voucher. */
  | "refused"
  /** The operator said something that its own signatures, or the payer's, prove wrong. Nothing more is signed. */
  | "operatorLied"
  /** A ledger is of another channel, chain or key, or was written by a newer program. */
  | "foreignLedger"
  /** Too many jobs of the channel are unresolved. */
  | "tooManyUnresolved";

/** What errors of payments have in common: a code for programs, a sentence for people, values for both. */
export class PaymentError extends Error {
  readonly code: PaymentCode;
  readonly details: Readonly<Record<string, string>>;

  constructor(code: PaymentCode, message: string, details: Record<string, string> = {}, options?: ErrorOptions) {
    super(message, options);
    this.name = "PaymentError";
    this.code = code;
    this.details = details;
  }
}
