import { NONCE_WINDOW, PRICE_LIMIT } from "./bounds.ts";
import { ProtocolError } from "./errors.ts";
import { type NonceWindow, nonceIsFree, useNonce } from "./nonce-window.ts";
import type { ChannelRecord } from "./state.ts";
import type { Voucher } from "./voucher.ts";

/**
 * What the one writer of an operator knows of a channel: what is charged, and what may yet be. A value; each operation
 * gives a new one. Amounts are wei of OPEN.
 */
export interface ChannelAccount {
  /** Charged by completed jobs. */
  readonly charged: bigint;
  /** Nonces of completed jobs. */
  readonly window: NonceWindow;
  /** Highest prices of the jobs in flight, by nonce. */
  readonly inFlight: ReadonlyMap<bigint, bigint>;
}

/** The channel on the chain, and the clock. */
export interface AdmissionTerms {
  /** All deposits less withdrawals, in wei of OPEN. */
  deposit: bigint;
  /** What the payer has announced to withdraw, in wei of OPEN. */
  thawing: bigint;
  /** Seconds since 1970. */
  now: number;
  /** L, in seconds. */
  voucherLife: number;
}

/** Why a voucher is not admitted. */
export type Refusal =
  | "expired"
  | "expiryTooFar"
  | "maxPriceTooHigh"
  | "nonceUsed"
  | "nonceTooFar"
  | "capTooLow"
  | "capAboveDeposit";

export type Admission =
  | { admitted: true; account: ChannelAccount }
  | {
      admitted: false;
      refusal: Refusal;
      /** With `capTooLow`: the least cap that this job needs. */
      requiredCap?: bigint;
    };

/** The account of a channel as its leaf stands, with nothing in flight. */
export function accountOf(record: ChannelRecord): ChannelAccount {
  return { charged: record.spent, window: { top: record.top, bitmap: record.bitmap }, inFlight: new Map() };
}

/** What the jobs in flight may cost at most. */
export function reservedOf(account: ChannelAccount): bigint {
  let reserved = 0n;
  for (const maxPrice of account.inFlight.values()) reserved += maxPrice;
  return reserved;
}

/**
 * Admits a voucher (its signature, agent and version already checked), or says why not: docs/protocol.md §3.
 *
 * Whichever of the completed jobs was admitted last had a cap over all that was charged or reserved then, and so over
 * everything completed by now: any order of completion keeps `spent ≤ capSeen`.
 */
export function admit(account: ChannelAccount, voucher: Voucher, terms: AdmissionTerms): Admission {
  const refuse = (refusal: Refusal): Admission => ({ admitted: false, refusal });
  const { nonce, maxPrice, cap, expiry } = voucher;
  if (expiry <= BigInt(terms.now)) return refuse("expired");
  if (expiry > BigInt(terms.now + terms.voucherLife)) return refuse("expiryTooFar");
  if (maxPrice >= PRICE_LIMIT) return refuse("maxPriceTooHigh");
  if (account.inFlight.has(nonce) || !nonceIsFree(account.window, nonce)) return refuse("nonceUsed");
  if (!staysInWindow(account, nonce)) return refuse("nonceTooFar");
  const requiredCap = account.charged + reservedOf(account) + maxPrice;
  if (cap < requiredCap) return { admitted: false, refusal: "capTooLow", requiredCap };
  if (cap > terms.deposit - terms.thawing) return refuse("capAboveDeposit");
  return { admitted: true, account: { ...account, inFlight: new Map(account.inFlight).set(nonce, maxPrice) } };
}

/**
 * Charges a job in flight.
 *
 * @throws {ProtocolError} When no such job is in flight or the price is above its maximum.
 */
export function completeJob(account: ChannelAccount, nonce: bigint, price: bigint): ChannelAccount {
  const maxPrice = account.inFlight.get(nonce);
  if (maxPrice === undefined) throw new ProtocolError(`No job with nonce ${nonce} is in flight`, "3");
  if (price > maxPrice) throw new ProtocolError(`Price ${price} is above the maximum of ${maxPrice}`, "3");
  return {
    charged: account.charged + price,
    window: useNonce(account.window, nonce),
    inFlight: without(account.inFlight, nonce),
  };
}

/** Frees the reservation of a job that failed. Its nonce may be used again. */
export function failJob(account: ChannelAccount, nonce: bigint): ChannelAccount {
  return { ...account, inFlight: without(account.inFlight, nonce) };
}

/** Whether all nonces in flight stay in the window, whichever completes first. */
function staysInWindow(account: ChannelAccount, nonce: bigint): boolean {
  for (const other of account.inFlight.keys()) {
    const distance = other > nonce ? other - nonce : nonce - other;
    if (distance >= NONCE_WINDOW) return false;
  }
  return true;
}

function without(inFlight: ReadonlyMap<bigint, bigint>, nonce: bigint): Map<bigint, bigint> {
  const rest = new Map(inFlight);
  rest.delete(nonce);
  return rest;
}
