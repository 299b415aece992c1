import type { BatchHeader } from "../protocol/header.ts";
import { decodeReceipt } from "../protocol/receipt.ts";
import type { ReceiptRecord } from "./sequencer.ts";

/** What posting may cost, and how long it may wait for a better price. */
interface PostingTerms {
  /** P, in seconds. */
  posting: number;
  /** L, in seconds. */
  voucherLife: number;
  /** Wei for a unit of gas above which posting waits; without it, it never does. */
  maxGasPrice?: bigint;
  /** Wei of the chain's coin that one OPEN is worth; without it, costs are not held against earnings. */
  coinPerOpen?: bigint;
  /** Seconds after its first receipt from which a batch is posted at any price. */
  patience: number;
}

/** Batches that the contract lets wait to become final. */
export const MAX_PENDING = 32;

/**
 * Seconds between batches once half of the places are taken: so the other half lasts longer than it takes the first to
 * become final, and more receipts share a batch. Without it, batches of ten minutes would fill all places in a quarter of
 * the time, and receipts behind them would run out. Demands, which put finality off, make it at most two thirds too short.
 *
 * @param challenge W, in seconds.
 */
export function scarcePause(challenge: number): number {
  return challenge / 12;
}

const OPEN = 10n ** 18n;

// What a batch costs until everyone is paid: docs/benchmarks.md, rounded up.
const GAS_OF_BATCH = 350_000n;
const GAS_OF_CHANNEL = 22_000n;

/**
 * Seconds that a transaction may take to be mined: what is posted later than P after an expiry costs the bond. An
 * eighth of P where that is short.
 */
export function postingMargin(posting: number): number {
  return Math.min(900, posting / 8);
}

/** Gas to post a batch, to make it final and to collect and pay out, about. */
function gasOfBatch(channels: number): bigint {
  return GAS_OF_BATCH + GAS_OF_CHANNEL * BigInt(channels);
}

/**
 * Whether a batch earns its operator more than its gas costs.
 *
 * @param earned The operator's share, in wei of OPEN.
 * @param gasPrice Wei of the coin.
 */
export function isWorthItsGas(earned: bigint, channels: number, gasPrice: bigint, coinPerOpen: bigint): boolean {
  return earned * coinPerOpen >= gasOfBatch(channels) * gasPrice * OPEN;
}

/** What the chain would say of a sealed batch, or what its price says, at some time. Times are seconds since 1970. */
interface PostingFacts {
  header: BatchHeader;
  /** The operator's earnings up to the batch below, in wei of OPEN. */
  earnedBelow: bigint;
  receipts: readonly ReceiptRecord[];
  /** By the chain. */
  now: number;
  /** By this machine. */
  localNow: number;
}

/**
 * Whether a batch is posted now: `late` when it would be a lie by the time it is mined, `stale` when the contract would
 * refuse its view of the registries, `early` when a chain whose clock
 * is behind would call a voucher too long, `wait` for a better price.
 */
export async function judgePosting(
  { header, earnedBelow, receipts, now, localNow }: PostingFacts,
  terms: PostingTerms,
  gasPrice: () => Promise<bigint>,
): Promise<"post" | "late" | "stale" | "early" | "wait"> {
  const { posting, voucherLife, maxGasPrice, coinPerOpen, patience } = terms;
  const [earliest, latest] = [earliestExpiry(receipts), Math.max(...expiriesOf(receipts))];
  if (isLate(now, earliest, posting)) return "late";
  if (now + postingMargin(posting) > header.registryTime + posting + voucherLife) return "stale";
  if (latest > now + voucherLife) return "early";
  const age = Math.max(now, localNow) - receipts[0].completedAt;
  if (isUrgent(now, earliest, posting) || age >= patience) return "post";
  if (maxGasPrice === undefined && coinPerOpen === undefined) return "post";
  const price = await gasPrice();
  if (maxGasPrice !== undefined && price > maxGasPrice) return "wait";
  const earned = header.state.operatorEarned - earnedBelow;
  return coinPerOpen === undefined || isWorthItsGas(earned, channelsOf(receipts), price, coinPerOpen) ? "post" : "wait";
}

/** Whether a voucher with this expiry may not be posted any more, all times in seconds. */
export function isLate(now: number, expiry: number, posting: number): boolean {
  return now + postingMargin(posting) > expiry + posting;
}

/** Whether a voucher with this expiry has less than a quarter of the time to post left, all times in seconds. */
export function isUrgent(now: number, expiry: number, posting: number): boolean {
  return now + posting / 4 > expiry + posting;
}

/** When the first of the receipts' vouchers runs out, seconds since 1970. */
export function earliestExpiry(receipts: readonly ReceiptRecord[]): number {
  return Math.min(...expiriesOf(receipts));
}

/** How many channels are charged. */
export function channelsOf(receipts: readonly ReceiptRecord[]): number {
  return new Set(receipts.map(({ channel }) => channel)).size;
}

function expiriesOf(receipts: readonly ReceiptRecord[]): number[] {
  return receipts.map(({ body }) => Number(decodeReceipt(body).voucher.expiry));
}
