/** What the verifier says of one receipt, by the code it has on the chain. In the order in which the rules are asked. */
export const VERDICT = {
  valid: 0,
  missingReceipt: 1,
  oversizedBody: 2,
  finalStateMismatch: 3,
  lengthMismatch: 4,
  malformedBody: 5,
  unknownChannel: 6,
  badSignature: 7,
  unknownAgentVersion: 8,
  voucherTooLong: 9,
  voucherExpired: 10,
  nonceUsed: 11,
  priceAboveMaximum: 12,
  wrongPrice: 13,
  capExceeded: 14,
  depositExceeded: 15,
  attributionUnsorted: 16,
  attributionSum: 17,
  attributionForeign: 18,
  attributionNotAccepted: 19,
  tooManyEarners: 20,
  overflow: 21,
  wrongState: 22,
} as const;

export type Verdict = (typeof VERDICT)[keyof typeof VERDICT];
export type VerdictName = keyof typeof VERDICT;

const NAMES = Object.fromEntries(Object.entries(VERDICT).map(([name, code]) => [code, name])) as Record<
  Verdict,
  VerdictName
>;

/** The name of a verdict, for people. */
export function verdictName(verdict: Verdict): VerdictName {
  return NAMES[verdict];
}
