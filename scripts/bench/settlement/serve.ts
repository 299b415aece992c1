import { appendReceipt, openBatch, type SealedBatch, sealBatch } from "../../../operator/protocol/batch.ts";
import { PPM } from "../../../operator/protocol/bounds.ts";
import type { BatchHeader } from "../../../operator/protocol/header.ts";
import { priceOf } from "../../../operator/protocol/price.ts";
import type { AttributionEntry, Receipt } from "../../../operator/protocol/receipt.ts";
import { signDigest } from "../../../operator/protocol/signature.ts";
import { emptyState, type State } from "../../../operator/protocol/state.ts";
import type { StepContext } from "../../../operator/protocol/step.ts";
import { voucherDigest } from "../../../operator/protocol/voucher.ts";
import { type Cast, CHANNELS, draw, type Served } from "./cast.ts";

/** One operator's books while the benchmark posts batches for it. */
export interface Books {
  served: Served;
  state: State;
  parent: BatchHeader | null;
  sequence: bigint;
  /** Jobs asked on each channel so far. */
  asked: number[];
}

export function openBooks(served: Served): Books {
  return { served, state: emptyState(), parent: null, sequence: 1n, asked: Array(CHANNELS).fill(0) };
}

/**
 * Signs vouchers and receipts for `count` jobs, round the channels, each crediting `payees` earners: publisher,
 * adapter, prompt, the rest contributions of the DataNet, with 16 payees the tool as well.
 */
export function signJobs(cast: Cast, books: Books, context: StepContext, count: number, payees: number): Receipt[] {
  const usage = { promptTokens: 700, completionTokens: 150 };
  const maxPrice = 2n * priceOf(cast.composition, usage, 2n ** 96n);
  return Array.from({ length: count }, (_, i) => {
    const at = i % CHANNELS;
    const asked = books.asked[at]++;
    const voucher = {
      channel: books.served.firstChannel + at,
      nonce: BigInt(asked),
      agent: cast.agent,
      version: cast.version,
      requestHash: draw(),
      maxPrice,
      cap: maxPrice * BigInt(asked + 1),
      expiry: BigInt(context.submittedAt + 60),
    };
    const signature = signDigest(voucherDigest(context.separator, voucher), books.served.keys[at]);
    const withTool = payees >= 16;
    return {
      voucher: { ...voucher, signature },
      responseHash: draw(),
      traceHash: draw(),
      ...usage,
      price: priceOf(cast.composition, usage, maxPrice),
      context: entries(cast.contributions, payees - 3 - (withTool ? 1 : 0), i),
      training: [],
      tool: withTool ? [{ id: cast.tool, ppm: PPM, via: 0 }] : [],
    };
  });
}

function entries(ids: number[], count: number, turn: number): AttributionEntry[] {
  const chosen = Array.from({ length: count }, (_, i) => ids[(turn * 7 + i * 37) % ids.length]).sort((a, b) => a - b);
  const each = Math.floor(PPM / count);
  return chosen.map((id, i) => ({ id, ppm: i === 0 ? PPM - each * (count - 1) : each, via: 0 }));
}

/** Appends the receipts and seals them as the next batch of these books. */
export function buildBatch(books: Books, context: StepContext, receipts: Receipt[]): SealedBatch {
  const open = openBatch(books.state, context);
  for (const receipt of receipts) {
    const { verdict } = appendReceipt(open, receipt);
    if (verdict !== 0) throw new Error(`The benchmark's own receipt got verdict ${verdict}.`);
  }
  const batch = sealBatch(open, books.parent, books.sequence);
  books.state = open.state;
  books.parent = batch.header;
  books.sequence += 1n;
  return batch;
}
