import type { AdmissionCode } from "../settlement/errors.ts";

/** Why a payment is not taken: the sequencer's reasons, and those that a gateway sees before it asks. */
export type PaymentRefusal = AdmissionCode | "wrongAgent" | "priceTooLow";

const SENTENCES: Record<PaymentRefusal, string> = {
  expired: "The voucher has run out. Sign another that runs out later.",
  expiryTooFar: "The voucher lives longer than this operator can wait with posting. Sign one that runs out sooner.",
  maxPriceTooHigh: "No answer costs as much as the voucher allows. Sign one with a lower maxPrice.",
  nonceUsed: "Another voucher with this nonce was taken. Sign with the next nonce.",
  nonceTooFar: "The nonce is too far from those of the jobs in flight. Wait for some of them to end.",
  capTooLow:
    "The voucher's cap is below what the channel was charged and may yet be. Check the receipts given here and sign a cap of at least statement.requiredCap.",
  capAboveDeposit: "The voucher's cap is above what the channel holds. Deposit more, or stop the withdrawal.",
  malformedVoucher: "The voucher cannot be read. Check the lengths and ranges of its fields.",
  requestMismatch: "The voucher is for another request. Sign the salted hash of this one.",
  unknownChannel: "This operator has no such channel. Open one, or wait until its block is settled.",
  badSignature: "The voucher is not signed by the channel's session key, or not for this contract and chain.",
  unknownAgentVersion: "There is no such version of the agent, or its block is not settled yet.",
  wrongAgent: "The voucher is for another agent or version. Sign for the one in these terms.",
  priceTooLow: "The voucher's maxPrice would not pay for a few words. Sign for the amount in these terms.",
};

/** What is wrong with a payment, and what to do about it. */
export function refusalSentence(refusal: PaymentRefusal): string {
  return SENTENCES[refusal];
}
