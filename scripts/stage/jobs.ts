import { randomBytes, randomInt } from "node:crypto";
import { accountOf, admit, type ChannelAccount, completeJob } from "../../operator/protocol/admission.ts";
import { appendReceipt, type OpenBatch } from "../../operator/protocol/batch.ts";
import { PPM } from "../../operator/protocol/bounds.ts";
import { confirmJob, reserveCap } from "../../operator/protocol/cap-ledger.ts";
import { priceOf } from "../../operator/protocol/price.ts";
import type { AttributionEntry, Receipt } from "../../operator/protocol/receipt.ts";
import { signDigest } from "../../operator/protocol/signature.ts";
import { channelIn } from "../../operator/protocol/state.ts";
import { voucherDigest } from "../../operator/protocol/voucher.ts";
import type { Operator, Registered } from "./cast.ts";

/**
 * Serves `count` jobs: each payer signs a voucher from its own books, the operator admits it against the channel, and
 * the receipt is appended. Token counts and attribution are drawn at random here: this story is about the money.
 */
export function serveJobs(operator: Operator, registered: Registered, batch: OpenBatch, count: number): Receipt[] {
  const accounts = new Map<number, ChannelAccount>();
  const { registry, separator, submittedAt, windows } = batch.context;
  const { agent, composition, contributions, tool } = registered;
  return Array.from({ length: count }, (_, i) => {
    const paid = operator.channels[i % operator.channels.length];
    const usage = { promptTokens: randomInt(200, 1_500), completionTokens: randomInt(20, 400) };
    const maxPrice = priceOf(composition, { promptTokens: 1_500, completionTokens: 400 }, 2n ** 96n);

    const reservation = reserveCap(paid.ledger, maxPrice);
    if (!reservation) throw new Error("Too many jobs in flight on one channel.");
    const { nonce, cap, ledger } = reservation;
    const expiry = BigInt(submittedAt + 600);
    const asked = {
      channel: paid.channel,
      nonce,
      agent,
      version: 1,
      requestHash: randomBytes(32),
      maxPrice,
      cap,
      expiry,
    };
    const voucher = { ...asked, signature: signDigest(voucherDigest(separator, asked), paid.key) };

    const account = accounts.get(paid.channel) ?? accountOf(channelIn(batch.state, paid.channel));
    const deposit = registry.channel(paid.channel)!.deposit;
    const terms = { deposit, thawing: 0n, now: submittedAt, voucherLife: windows.voucherLife };
    const admission = admit(account, voucher, terms);
    if (!admission.admitted) throw new Error(`The voucher was refused: ${admission.refusal}`);

    const receipt: Receipt = {
      voucher,
      responseHash: randomBytes(32),
      traceHash: randomBytes(32),
      ...usage,
      price: priceOf(composition, usage, maxPrice),
      context: drawn(contributions, randomInt(1, 4)),
      training: drawn(contributions, randomInt(0, 3)),
      tool: i % 3 === 0 ? [{ id: tool, ppm: PPM, via: 0 }] : [],
    };
    const { verdict } = appendReceipt(batch, receipt);
    if (verdict !== 0) throw new Error(`An honest receipt got verdict ${verdict}.`);
    accounts.set(paid.channel, completeJob(admission.account, nonce, receipt.price));
    paid.ledger = confirmJob(ledger, nonce, receipt.price);
    return receipt;
  });
}

/** Some of the ids with parts of a million that sum to it. */
function drawn(ids: number[], count: number): AttributionEntry[] {
  const chosen = [...ids]
    .sort(() => Math.random() - 0.5)
    .slice(0, count)
    .sort((a, b) => a - b);
  const weights = chosen.map(() => randomInt(1, 1_000));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const parts = weights.map((weight) => Math.max(1, Math.floor((weight / total) * PPM)));
  parts[0] += PPM - parts.reduce((sum, part) => sum + part, 0);
  return chosen.map((id, i) => ({ id, ppm: parts[i], via: 0 }));
}
