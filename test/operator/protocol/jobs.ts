import { accountOf, admit, type ChannelAccount, completeJob } from "../../../operator/protocol/admission.ts";
import { isPartOf } from "../../../operator/protocol/attribution-rules.ts";
import { appendReceipt, openBatch, type SealedBatch, sealBatch } from "../../../operator/protocol/batch.ts";
import { registryLag } from "../../../operator/protocol/bounds.ts";
import { type CapLedger, confirmJob, openCapLedger, reserveCap } from "../../../operator/protocol/cap-ledger.ts";
import type { BatchHeader } from "../../../operator/protocol/header.ts";
import { priceOf } from "../../../operator/protocol/price.ts";
import type { AttributionEntry, Receipt } from "../../../operator/protocol/receipt.ts";
import type { LineageEntry } from "../../../operator/protocol/registry-view.ts";
import { signDigest } from "../../../operator/protocol/signature.ts";
import { channelIn, emptyState, type State } from "../../../operator/protocol/state.ts";
import { type SignedVoucher, type Voucher, voucherDigest } from "../../../operator/protocol/voucher.ts";
import { contextOf, type World } from "./world.ts";

/** A world with the books of its payers and of its operator, and the chain of batches so far. */
export interface Story {
  world: World;
  state: State;
  /** Header of the newest batch. */
  parent: BatchHeader | null;
  sequence: bigint;
  ledgers: Map<number, CapLedger>;
}

/** A batch with what surrounds it. */
export interface ToldBatch {
  batch: SealedBatch;
  receipts: Receipt[];
  parent: BatchHeader | null;
  before: State;
  after: State;
}

/** The beginning: nothing served. */
export function openStory(world: World): Story {
  return { world, state: emptyState(), parent: null, sequence: 1n, ledgers: new Map() };
}

/**
 * Serves random jobs honestly and posts them as the next batch. Up to ten jobs are in flight at a time and complete in
 * any order.
 */
export function tellBatch(story: Story, count: number): ToldBatch {
  const { world } = story;
  const { dice } = world;
  const before = story.state;
  const open = openBatch(before, contextOf(world));
  const receipts: Receipt[] = [];
  const accounts = new Map<number, ChannelAccount>();
  let inFlight: Receipt[] = [];
  while (receipts.length < count) {
    while (inFlight.length < Math.min(10, count - receipts.length)) inFlight.push(admitted(story, accounts));
    inFlight = dice.shuffled(inFlight);
    const receipt = inFlight.pop()!;
    const step = appendReceipt(open, receipt);
    if (step.verdict !== 0) throw new Error(`an honest receipt was judged ${step.verdict}`);
    receipts.push(receipt);
    const { channel, nonce } = receipt.voucher;
    accounts.set(channel, completeJob(accounts.get(channel)!, nonce, receipt.price));
    story.ledgers.set(channel, confirmJob(story.ledgers.get(channel)!, nonce, receipt.price));
  }
  const { parent } = story;
  const batch = sealBatch(open, parent, story.sequence);
  story.state = open.state;
  story.parent = batch.header;
  story.sequence += 1n;
  return { batch, receipts, parent, before, after: open.state };
}

/** A receipt for a random job, its voucher admitted. */
function admitted(story: Story, accounts: Map<number, ChannelAccount>): Receipt {
  const { world } = story;
  const { dice } = world;
  const channel = dice.pick(world.channels);
  const receipt = randomReceipt(world, channel, dice.pick(world.agents));
  const reservation = reserveCap(story.ledgers.get(channel) ?? openCapLedger(), receipt.voucher.maxPrice);
  if (!reservation) throw new Error("the payer has too many unresolved jobs");
  story.ledgers.set(channel, reservation.ledger);
  const voucher = resigned(world, { ...receipt.voucher, nonce: reservation.nonce, cap: reservation.cap });
  const account = accounts.get(channel) ?? accountOf(channelIn(story.state, channel));
  const admission = admit(account, voucher, {
    deposit: world.registry.channel(channel)!.deposit,
    thawing: 0n,
    now: world.now - 1,
    voucherLife: world.windows.voucherLife,
  });
  if (!admission.admitted) throw new Error(`an honest voucher was refused: ${admission.refusal}`);
  accounts.set(channel, admission.account);
  return { ...receipt, voucher };
}

/** A receipt by the rules for a job on an agent version; its voucher has nonce 1 and a cap of its own maximum. */
export function randomReceipt(world: World, channel: number, pinned: { agent: number; version: number }): Receipt {
  const { dice, registry } = world;
  const { composition } = registry.agentVersion(pinned.agent, pinned.version)!;
  const usage = { promptTokens: dice.below(4_000), completionTokens: dice.below(2_000) };
  const unbounded = priceOf(composition, usage, 1n << 96n);
  // Mostly above the price; sometimes the voucher's maximum is what is paid.
  const maxPrice = dice.chance(0.8) ? unbounded * 2n + 1n : unbounded / 2n;
  const voucher = resigned(world, {
    channel,
    nonce: 1n,
    agent: pinned.agent,
    version: pinned.version,
    requestHash: dice.bytes(32),
    maxPrice,
    cap: maxPrice,
    expiry: BigInt(world.now + dice.below(world.windows.voucherLife - 1)),
  });
  const { context, training, tool } = earnersOf(world, pinned);
  return {
    voucher,
    responseHash: dice.bytes(32),
    traceHash: dice.bytes(32),
    ...usage,
    price: priceOf(composition, usage, maxPrice),
    context: randomPool(world, context, 12),
    // Two below the bound, so that no more than 32 earn.
    training: randomPool(world, training, 10),
    tool: randomPool(world, tool, 4),
  };
}

/** A voucher signed by its channel's key. */
export function resigned(world: World, voucher: Voucher, key = world.keys.get(voucher.channel)!): SignedVoucher {
  return { ...voucher, signature: signDigest(voucherDigest(world.separator, voucher), key) };
}

/** All that may earn from the pools of an agent version, ascending by id. */
export function earnersOf(world: World, pinned: { agent: number; version: number }) {
  const { registry } = world;
  const { composition } = registry.agentVersion(pinned.agent, pinned.version)!;
  const sources = composition.dataNets.map(({ id, version }, via) => ({ via, source: { dataNet: id, version } }));
  const lineages = composition.adapters.flatMap((adapter, i) =>
    [0, 1, 2, 3, 4, 5, 6, 7].flatMap((index) => {
      const source = registry.lineage(adapter.id, adapter.version, index);
      return source ? [{ via: 8 * i + index, source }] : [];
    }),
  );
  const tools = new Map(composition.tools.map(({ id }, via) => [id, { id, via }]));
  return {
    context: contributionsOf(world, sources),
    training: contributionsOf(world, lineages),
    tool: [...tools.values()].sort((a, b) => a.id - b.id),
  };
}

function contributionsOf(world: World, sources: { via: number; source: LineageEntry }[]) {
  const { registry, registryTime, windows } = world;
  const found: { id: number; via: number }[] = [];
  for (const [id, contribution] of registry.contributions) {
    const { acceptedAt, withdrawnAt } = contribution;
    const stands = withdrawnAt === 0 || withdrawnAt >= registryTime - registryLag(windows);
    if (acceptedAt === 0 || acceptedAt > registryTime || !stands) continue;
    const through = sources.filter(({ source }) => isPartOf(contribution, source));
    if (through.length > 0) found.push({ id, via: world.dice.pick(through).via });
  }
  return found.sort((a, b) => a.id - b.id);
}

function randomPool(world: World, earners: { id: number; via: number }[], most: number): AttributionEntry[] {
  const { dice } = world;
  const chosen = dice.some(earners, dice.below(Math.min(most, earners.length) + 1));
  if (chosen.length === 0) return [];
  const parts = dice.partsOf(1_000_000, chosen.length);
  return chosen.map(({ id, via }, i) => ({ id, ppm: parts[i], via }));
}
