import type { Address } from "viem";
import type { Fact } from "./registry-events.ts";

/** One of those who are paid for an id. */
export interface Payee {
  account: Address;
  /** All of a list sum to 1,000,000. */
  sharePpm: number;
}

/**
 * The list of payees in force at a time, as Contribution721 has it: an announcement keeps what is in force by then, and
 * replaces any other announcement.
 *
 * @param changes `PayeesSet` and `PayeesReset` of one id, in order.
 * @returns Empty for the owner alone.
 */
export function payeesAt(changes: readonly Fact[], at: number): readonly Payee[] {
  let current: readonly Payee[] = [];
  let next: readonly Payee[] = [];
  let effectiveAt = 0;
  const inForce = (time: number) => (effectiveAt > 0 && time >= effectiveAt ? next : current);
  for (const { time, data } of changes) {
    current = inForce(time);
    next = (data.payees as Payee[] | undefined) ?? [];
    effectiveAt = Number(data.effectiveAt);
  }
  return inForce(at);
}
