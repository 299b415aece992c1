import { judgeAttribution } from "./attribution-rules.ts";
import { AMOUNT_LIMIT, MAX_EARNERS_PER_RECEIPT, registryLag, type Windows } from "./bounds.ts";
import type { Hex } from "./bytes.ts";
import { MalformedBytes } from "./errors.ts";
import { nonceIsFree, useNonce } from "./nonce-window.ts";
import { priceOf } from "./price.ts";
import { decodeReceipt, type Receipt } from "./receipt.ts";
import type { ChannelInfo, RegistryView } from "./registry-view.ts";
import { recoverSigner } from "./signature.ts";
import { treeSet } from "./sparse-tree.ts";
import { type Payout, splitPrice } from "./split.ts";
import { type ChannelRecord, channelIn, earnedBy, type State } from "./state.ts";
import { VERDICT, type Verdict } from "./verdict.ts";
import { voucherDigest } from "./voucher.ts";

/** What a batch brings to the judging of its receipts. Times are seconds since 1970. */
export interface StepContext {
  operator: number;
  /** B: the time at which the batch saw the registries. */
  registryTime: number;
  /** When the batch was posted; while it is being built, the time now. */
  submittedAt: number;
  windows: Windows;
  /** Domain separator of the vouchers. */
  separator: Uint8Array;
  registry: RegistryView;
  /** Recovers signers; for those who have done so before, in another thread. */
  recover?: (digest: Uint8Array, signature: Uint8Array) => Hex | undefined;
}

/** What came of one receipt. The optional parts are there as far as the judging went. */
export interface Step {
  verdict: Verdict;
  receipt?: Receipt;
  /** Digest of the voucher: the job's id. */
  digest?: Uint8Array;
  /** There once the rules up to the attribution hold. */
  payout?: Payout;
  /** The state after; only with the verdict `valid`. */
  after?: State;
}

/**
 * Applies one body to a state, asking the rules of docs/protocol.md §8 from MalformedBody to Overflow in their order.
 *
 * Total: any bytes get a verdict. What the leaf commits to (rules 1 to 4 and 22) is judged in `replay.ts`.
 */
export function applyReceipt(state: State, body: Uint8Array, context: StepContext): Step {
  const receipt = decoded(body);
  if (!receipt) return { verdict: VERDICT.malformedBody };
  const { voucher, price } = receipt;
  const { registry, registryTime, windows } = context;

  const channel = registry.channel(voucher.channel);
  if (channel?.operator !== context.operator) return { verdict: VERDICT.unknownChannel, receipt };
  const digest = voucherDigest(context.separator, voucher);
  const stop = (verdict: Verdict, payout?: Payout): Step => ({ verdict, receipt, digest, payout });
  const signer = (context.recover ?? recoverSigner)(digest, voucher.signature);
  if (signer === undefined || signer !== channel.sessionKey.toLowerCase()) return stop(VERDICT.badSignature);

  const agent = registry.agentVersion(voucher.agent, voucher.version);
  if (!agent || agent.publishedAt === 0 || agent.publishedAt > registryTime) return stop(VERDICT.unknownAgentVersion);
  const { composition } = agent;

  const expiry = voucher.expiry;
  if (expiry > BigInt(context.submittedAt + windows.voucherLife)) return stop(VERDICT.voucherTooLong);
  if (BigInt(context.submittedAt) > expiry + BigInt(windows.posting)) return stop(VERDICT.voucherExpired);

  const before = channelIn(state, voucher.channel);
  if (!nonceIsFree(before, voucher.nonce)) return stop(VERDICT.nonceUsed);
  if (price > voucher.maxPrice) return stop(VERDICT.priceAboveMaximum);
  if (price !== priceOf(composition, receipt, voucher.maxPrice)) return stop(VERDICT.wrongPrice);

  const isHigher = voucher.cap >= before.capSeen;
  const charged: ChannelRecord = {
    spent: before.spent + price,
    capSeen: isHigher ? voucher.cap : before.capSeen,
    voucher: isHigher ? voucher : before.voucher,
    ...useNonce(before, voucher.nonce),
  };
  if (charged.spent > charged.capSeen) return stop(VERDICT.capExceeded);
  if (charged.spent > heldUntilCollected(channel, context)) return stop(VERDICT.depositExceeded);

  const attribution = judgeAttribution(receipt, composition, { registry, registryTime, lag: registryLag(windows) });
  if (attribution !== VERDICT.valid) return stop(attribution);

  const payout = splitPrice(price, registry.protocolShareAt(registryTime), voucher.agent, composition, receipt);
  if (payout.credits.length > MAX_EARNERS_PER_RECEIPT) return stop(VERDICT.tooManyEarners, payout);
  const earned = payout.credits.map(({ id, amount }) => [id, earnedBy(state, id) + amount] as const);
  const totalSpent = state.totalSpent + price;
  const treasuryEarned = state.treasuryEarned + payout.treasury;
  const operatorEarned = state.operatorEarned + payout.operator;
  const cumulative = [charged.spent, totalSpent, treasuryEarned, operatorEarned, ...earned.map(([, total]) => total)];
  if (cumulative.some((amount) => amount >= AMOUNT_LIMIT)) return stop(VERDICT.overflow, payout);

  const after: State = {
    earners: treeSet(state.earners, earned),
    channels: treeSet(state.channels, [[voucher.channel, charged]]),
    totalSpent,
    treasuryEarned,
    operatorEarned,
  };
  return { verdict: VERDICT.valid, receipt, digest, payout, after };
}

/** What the channel holds for the batch: without what may be withdrawn before the batch can be collected. */
function heldUntilCollected(channel: ChannelInfo, { submittedAt, windows }: StepContext): bigint {
  const { deposit, thawing = 0n, thawReadyAt = 0 } = channel;
  if (thawReadyAt === 0 || thawReadyAt >= submittedAt + windows.settling) return deposit;
  return thawing < deposit ? deposit - thawing : 0n;
}

function decoded(body: Uint8Array): Receipt | undefined {
  try {
    return decodeReceipt(body);
  } catch (error) {
    if (error instanceof MalformedBytes) return undefined;
    throw error;
  }
}
