import { NONCE_WINDOW } from "./bounds.ts";
import { ProtocolError } from "./errors.ts";

/**
 * What a payer keeps of one channel, so that it signs no more than it must. A value; each operation gives a new one.
 * Amounts are wei of OPEN. Processes that share a session key share one ledger.
 */
export interface CapLedger {
  /** Charged by jobs whose receipts the payer has seen. */
  readonly charged: bigint;
  /** Highest prices of the jobs of which no receipt has come, by nonce. */
  readonly unresolved: ReadonlyMap<bigint, bigint>;
  readonly nextNonce: bigint;
  /** The highest cap ever signed: the most that the payer can lose on this channel, whatever anybody does. */
  readonly exposure: bigint;
}

/** Nonce and cap for the next voucher. */
export interface CapReservation {
  ledger: CapLedger;
  nonce: bigint;
  cap: bigint;
}

/** The ledger of a channel, at its start or with what its receipts so far have charged. */
export function openCapLedger(charged = 0n, nextNonce = 1n): CapLedger {
  return { charged, unresolved: new Map(), nextNonce, exposure: charged };
}

/**
 * Takes the next nonce and the cap to sign for a job: charged, what all unresolved jobs may cost, and this one's
 * maximum.
 *
 * @returns Undefined while a job so old is unresolved that the operator would refuse the nonce.
 */
export function reserveCap(ledger: CapLedger, maxPrice: bigint): CapReservation | undefined {
  const nonce = ledger.nextNonce;
  let cap = ledger.charged + maxPrice;
  for (const [other, highest] of ledger.unresolved) {
    if (nonce - other >= NONCE_WINDOW) return undefined;
    cap += highest;
  }
  const reserved: CapLedger = {
    charged: ledger.charged,
    unresolved: new Map(ledger.unresolved).set(nonce, maxPrice),
    nextNonce: nonce + 1n,
    exposure: cap > ledger.exposure ? cap : ledger.exposure,
  };
  return { ledger: reserved, nonce, cap };
}

/**
 * Notes a job's price, from its receipt.
 *
 * @throws {ProtocolError} When the job is unknown or the price is above its maximum: the receipt is then a lie.
 */
export function confirmJob(ledger: CapLedger, nonce: bigint, price: bigint): CapLedger {
  const maxPrice = ledger.unresolved.get(nonce);
  if (maxPrice === undefined) throw new ProtocolError(`No job with nonce ${nonce} is unresolved`, "3");
  if (price > maxPrice) throw new ProtocolError(`Price ${price} is above the maximum of ${maxPrice}`, "3");
  return { ...ledger, charged: ledger.charged + price, unresolved: without(ledger.unresolved, nonce) };
}

/**
 * Forgets a job that the operator says has failed. Should it be charged all the same, the next cap is too low by its
 * price and the operator has to show its receipt; the exposure is not raised by that.
 */
export function forgetJob(ledger: CapLedger, nonce: bigint): CapLedger {
  return { ...ledger, unresolved: without(ledger.unresolved, nonce) };
}

function without(unresolved: ReadonlyMap<bigint, bigint>, nonce: bigint): Map<bigint, bigint> {
  const rest = new Map(unresolved);
  rest.delete(nonce);
  return rest;
}
