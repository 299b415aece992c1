import { type CommittedReceipt, receiptLeaves, type SealedBatch } from "../../../operator/protocol/batch.ts";
import { encodeBatchData } from "../../../operator/protocol/batch-data.ts";
import { buildBatchTree } from "../../../operator/protocol/batch-tree.ts";
import { ZERO_HASH } from "../../../operator/protocol/bytes.ts";
import type { Composition } from "../../../operator/protocol/composition.ts";
import { type BatchHeader, headerHash } from "../../../operator/protocol/header.ts";
import { keccak } from "../../../operator/protocol/keccak.ts";
import { nonceIsFree, useNonce } from "../../../operator/protocol/nonce-window.ts";
import { priceOf } from "../../../operator/protocol/price.ts";
import { encodeReceipt, type Receipt } from "../../../operator/protocol/receipt.ts";
import { treeSet } from "../../../operator/protocol/sparse-tree.ts";
import { splitPrice } from "../../../operator/protocol/split.ts";
import {
  type ChannelRecord,
  channelIn,
  earnedBy,
  type State,
  stateRoot,
  summarise,
} from "../../../operator/protocol/state.ts";
import type { Verdict } from "../../../operator/protocol/verdict.ts";
import { earnersOf, resigned, type Story, tellBatch } from "./jobs.ts";
import { contextOf, type World } from "./world.ts";

/** Where a lie is told: an honest receipt, about to be replaced, and the state before it. */
export interface Scene {
  world: World;
  /** An honest receipt of the first agent on the spare channel, with entries in every pool. */
  victim: Receipt;
  composition: Composition;
  before: State;
}

/** What a liar commits in the place of an honest receipt, and the state it goes on from. */
export interface Told {
  receipt: CommittedReceipt | null;
  after: State;
}

/** One kind of lie. Everything else about the batch is recomputed as if it were true. */
export interface Lie {
  name: string;
  verdict: Verdict;
  /** Whether the lie needs a receipt after it: told of a batch's last receipt, it would be another. */
  needsSuccessor?: boolean;
  /** Whether the spare channel has been served before: nonces 300 and 301 are used. */
  needsHistory?: boolean;
  /** What stands in the place of the victim; without it, the victim itself. */
  tell?: (scene: Scene) => Told;
  /** What the header says instead of the truth. `earlier` is the state before the last receipt. */
  header?: (header: BatchHeader, earlier: State) => BatchHeader;
}

export interface LieOptions {
  /** Honest receipts before and after the lie. */
  before?: number;
  after?: number;
  /** Entries of the victim's pools; with the publisher, four adapters and the prompt, 16 earners unless told. */
  pools?: { context: number; training: number; tool: number };
}

/** A batch with one lie in it. */
export interface LyingBatch {
  batch: SealedBatch;
  parent: BatchHeader | null;
  /** The state on which the batch stands. */
  before: State;
  /** Which receipt is wrong. */
  index: number;
  verdict: Verdict;
}

/** Posts a lie as the next batch of a story, which otherwise stays where it is: the batch is going to fall. */
export function tellLie(story: Story, lie: Lie, options: LieOptions = {}): LyingBatch {
  const { world } = story;
  const { pools = { context: 4, training: 4, tool: 2 } } = options;
  const earlier = Math.max(options.before ?? 2, lie.header ? 1 : 0);
  // A header is tampered with after the victim, whose price is above zero: so each of its numbers has just changed.
  const later = lie.header ? 0 : Math.max(options.after ?? 2, lie.needsSuccessor ? 1 : 0);
  const honest = tellBatch({ ...story, ledgers: new Map(story.ledgers) }, Math.max(1, earlier + later)).receipts;
  const committed: (CommittedReceipt | null)[] = [];
  let state = story.state;
  let previous = state;
  const add = (told: Told) => {
    previous = state;
    state = told.after;
    committed.push(told.receipt);
  };
  const pinned = world.agents[0];
  const { composition } = world.registry.agentVersion(pinned.agent, pinned.version)!;
  const scene = (nonce: bigint): Scene => {
    const before = state;
    return { world, victim: victimReceipt(world, before, composition, nonce, pools), composition, before };
  };
  if (lie.needsHistory) {
    for (const nonce of [300n, 301n]) {
      const at = scene(nonce);
      add(committing(at, at.victim));
    }
  }
  for (const receipt of honest.slice(0, earlier)) add(committing({ ...scene(0n), victim: receipt }, receipt));
  const place = committed.length;
  const at = scene(lie.needsHistory ? 302n : 1n);
  add(lie.tell ? lie.tell(at) : committing(at, at.victim));
  for (const receipt of honest.slice(earlier, earlier + later)) add(committing(scene(0n), receipt));

  const batch = sealAnything(story, committed, state, (header) => lie.header?.(header, previous) ?? header);
  story.sequence += 1n;
  return {
    batch,
    parent: story.parent,
    before: story.state,
    index: lie.header ? batch.header.count - 1 : place,
    verdict: lie.verdict,
  };
}

/** What an operator commits that applies a receipt without asking whether it may. */
export function committing(scene: Scene, receipt: Receipt, tweak: (after: State) => State = (after) => after): Told {
  const after = tweak(forced(scene, receipt));
  const body = encodeReceipt(receipt);
  return { receipt: { length: body.length, stateRoot: stateRoot(summarise(after)), body }, after };
}

/** What an operator commits whose bytes say nothing: the state stays. */
export function committingBytes(scene: Scene, body: Uint8Array, length = body.length): Told {
  const root = stateRoot(summarise(scene.before));
  return { receipt: { length, stateRoot: root, body }, after: scene.before };
}

/** The victim with another voucher, signed anew. */
export function withVoucher(scene: Scene, change: Partial<Receipt["voucher"]>): Receipt {
  return { ...scene.victim, voucher: resigned(scene.world, { ...scene.victim.voucher, ...change }) };
}

function victimReceipt(
  world: World,
  before: State,
  composition: Composition,
  nonce: bigint,
  pools: NonNullable<LieOptions["pools"]>,
): Receipt {
  const { dice } = world;
  const usage = { promptTokens: dice.between(1, 4_000), completionTokens: dice.between(1, 2_000) };
  const price = priceOf(composition, usage, 1n << 96n);
  const maxPrice = price + 1_000n;
  const record = channelIn(before, world.spareChannel);
  const voucher = resigned(world, {
    channel: world.spareChannel,
    nonce,
    ...world.agents[0],
    requestHash: dice.bytes(32),
    maxPrice,
    cap: record.spent + maxPrice,
    expiry: BigInt(world.now + 600),
  });
  const earners = earnersOf(world, world.agents[0]);
  const context = dice.some(earners.context, pools.context);
  const taken = new Set(context.map(({ id }) => id));
  const training = dice.some(
    earners.training.filter(({ id }) => !taken.has(id)),
    pools.training,
  );
  const weighted = (chosen: { id: number; via: number }[]) => {
    const parts = chosen.length > 0 ? dice.partsOf(1_000_000, chosen.length) : [];
    return chosen.map((entry, i) => ({ ...entry, ppm: parts[i] }));
  };
  return {
    voucher,
    responseHash: dice.bytes(32),
    traceHash: dice.bytes(32),
    ...usage,
    price,
    context: weighted(context),
    training: weighted(training),
    tool: weighted(dice.some(earners.tool, pools.tool)),
  };
}

/** The state after a receipt for an operator that keeps no rule. */
function forced({ world, before, composition: fallback }: Scene, receipt: Receipt): State {
  const { voucher, price } = receipt;
  const { registry } = world;
  const composition = registry.agentVersion(voucher.agent, voucher.version)?.composition ?? fallback;
  const record = channelIn(before, voucher.channel);
  const window = nonceIsFree(record, voucher.nonce) ? useNonce(record, voucher.nonce) : record;
  const charged: ChannelRecord = {
    spent: record.spent + price,
    capSeen: voucher.cap > record.capSeen ? voucher.cap : record.capSeen,
    top: window.top,
    bitmap: window.bitmap,
    voucher,
  };
  const payout = splitPrice(price, registry.protocolShareAt(), voucher.agent, composition, receipt);
  return {
    earners: treeSet(
      before.earners,
      payout.credits.map(({ id, amount }) => [id, earnedBy(before, id) + amount] as const),
    ),
    channels: treeSet(before.channels, [[voucher.channel, charged]]),
    totalSpent: before.totalSpent + price,
    treasuryEarned: before.treasuryEarned + payout.treasury,
    operatorEarned: before.operatorEarned + payout.operator,
  };
}

function sealAnything(
  story: Story,
  receipts: (CommittedReceipt | null)[],
  after: State,
  tamper: (header: BatchHeader) => BatchHeader,
): SealedBatch {
  const { operator, registryTime } = contextOf(story.world);
  const height = (story.parent?.height ?? 0n) + 1n;
  const seal = (kept: (CommittedReceipt | null)[], claimed?: BatchHeader): SealedBatch => {
    const tree = buildBatchTree(receiptLeaves(kept));
    const data = encodeBatchData(height, kept, after);
    const truth: BatchHeader = {
      operator,
      sequence: story.sequence,
      height,
      parentHash: story.parent ? headerHash(story.parent) : ZERO_HASH,
      registryTime,
      count: kept.length,
      receiptsRoot: tree.root,
      dataHash: keccak(data),
      state: summarise(after),
    };
    const header = claimed ? { ...claimed, receiptsRoot: tree.root, dataHash: truth.dataHash } : tamper(truth);
    return { header, hash: headerHash(header), receipts: kept, tree, data };
  };
  const sealed = seal(receipts);
  const { count } = sealed.header;
  // A false count is a lie about how many receipts led to the state, with a tree and data that fit it.
  return count === receipts.length ? sealed : seal(receipts.slice(0, count), sealed.header);
}
