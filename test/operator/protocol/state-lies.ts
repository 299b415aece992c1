import { treeEntries, treeSet } from "../../../operator/protocol/sparse-tree.ts";
import { splitPrice } from "../../../operator/protocol/split.ts";
import { type ChannelRecord, channelIn, earnedBy, type State } from "../../../operator/protocol/state.ts";
import { VERDICT } from "../../../operator/protocol/verdict.ts";
import { committing, type Lie, type Scene } from "./liar.ts";

/** A receipt by the rules, with a state after it that is not. */
function stateLie(name: string, tweak: (after: State, scene: Scene) => State, needsHistory = false): Lie {
  return {
    name,
    verdict: VERDICT.wrongState,
    needsHistory,
    tell: (scene) => committing(scene, scene.victim, (after) => tweak(after, scene)),
  };
}

/** One channel's record other than it should be. */
function channelLie(
  name: string,
  change: (record: ChannelRecord, before: ChannelRecord) => Partial<ChannelRecord>,
): Lie {
  return stateLie(
    name,
    (after, { world, before }) => {
      const record = channelIn(after, world.spareChannel);
      const wrong = { ...record, ...change(record, channelIn(before, world.spareChannel)) };
      return { ...after, channels: treeSet(after.channels, [[world.spareChannel, wrong]]) };
    },
    true,
  );
}

/** Some earners' sums other than they should be; an amount is what is added, in wei. */
function credited(state: State, changes: readonly (readonly [id: number, amount: bigint])[]): State {
  const entries = [...changes]
    .sort(([a], [b]) => a - b)
    .map(([id, amount]) => [id, earnedBy(state, id) + amount] as const);
  return { ...state, earners: treeSet(state.earners, entries) };
}

const UNKNOWN_ID = 3_999_999;

export const STATE_LIES: Lie[] = [
  stateLie("one wei from the treasury to the operator", (after) => ({
    ...after,
    treasuryEarned: after.treasuryEarned - 1n,
    operatorEarned: after.operatorEarned + 1n,
  })),
  stateLie("one wei more for the operator, from nowhere", (after) => ({
    ...after,
    operatorEarned: after.operatorEarned + 1n,
  })),
  stateLie("one wei more spent than was charged", (after) => ({ ...after, totalSpent: after.totalSpent + 1n })),
  stateLie("one wei from the prompt to the operator", (after, { composition }) => ({
    ...credited(after, [[composition.prompt!.id, -1n]]),
    operatorEarned: after.operatorEarned + 1n,
  })),
  stateLie("one wei from one earner to another", (after, { victim }) =>
    credited(after, [
      [victim.voucher.agent, -1n],
      [victim.context[0].id, 1n],
    ]),
  ),
  stateLie("an earning given to somebody else", (after, { victim, before }) => {
    const id = victim.context[0].id;
    const amount = earnedBy(after, id) - earnedBy(before, id);
    return credited(after, [
      [id, -amount],
      [UNKNOWN_ID, amount],
    ]);
  }),
  stateLie("a wei for one who earned nothing", (after) => credited(after, [[UNKNOWN_ID, 1n]])),
  stateLie("earnings that are not written down", (after, { before }) => ({ ...after, earners: before.earners })),
  stateLie(
    "all earnings of before wiped out",
    (after, { before }) => {
      const wiped = Array.from(treeEntries(before.earners), ([id, earned]) => [id, -earned] as const);
      return credited(after, wiped);
    },
    true,
  ),
  stateLie("the split of another protocol share", (after, scene) => {
    const { victim, before, composition, world } = scene;
    const share = world.registry.protocolShareAt() + 10_000;
    const payout = splitPrice(victim.price, share, victim.voucher.agent, composition, victim);
    const changed = credited(
      { ...after, earners: before.earners },
      payout.credits.map(({ id, amount }) => [id, amount] as const),
    );
    return {
      ...changed,
      treasuryEarned: before.treasuryEarned + payout.treasury,
      operatorEarned: before.operatorEarned + payout.operator,
    };
  }),
  {
    name: "an empty pool's share kept by the operator",
    verdict: VERDICT.wrongState,
    tell: (scene) => {
      const { victim, before, composition, world } = scene;
      const receipt = { ...victim, context: [] };
      return committing(scene, receipt, (after) => {
        const share = world.registry.protocolShareAt();
        const full = splitPrice(victim.price, share, victim.voucher.agent, composition, victim);
        const pool = new Set(victim.context.map(({ id }) => id));
        const kept = full.credits.filter(({ id }) => !pool.has(id));
        const earned = kept.reduce((sum, { amount }) => sum + amount, 0n);
        return {
          ...credited(
            { ...after, earners: before.earners },
            kept.map(({ id, amount }) => [id, amount] as const),
          ),
          operatorEarned: before.operatorEarned + victim.price - full.treasury - earned,
        };
      });
    },
  },
  channelLie("a channel charged one wei less", (record) => ({ spent: record.spent - 1n })),
  channelLie("a channel charged one wei more", (record) => ({ spent: record.spent + 1n })),
  channelLie("a cap that is not remembered", (_, { capSeen }) => ({ capSeen })),
  channelLie("a cap one wei too high", (record) => ({ capSeen: record.capSeen + 1n })),
  channelLie("a nonce that is not marked as used", (_, { top, bitmap }) => ({ top, bitmap })),
  channelLie("a nonce that another is marked for", (record) => ({ bitmap: record.bitmap ^ 8n })),
  channelLie("a window moved too far", (record) => ({ top: record.top + 1n })),
  stateLie("a charge that is not written down", (after, { before }) => ({ ...after, channels: before.channels })),
  stateLie("a charge written down for another channel", (after, { world, before }) => ({
    ...after,
    channels: treeSet(before.channels, [[world.poorChannel, channelIn(after, world.spareChannel)]]),
  })),
];
