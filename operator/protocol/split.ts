import { PPM } from "./bounds.ts";
import { type Composition, EMPTY_POOL, type EmptyPool } from "./composition.ts";
import type { AttributionEntry } from "./receipt.ts";

/** What one id earns from one receipt. */
export interface Credit {
  id: number;
  /** Wei of OPEN, above zero. */
  amount: bigint;
}

/** Where a price goes; the parts sum to the price. */
export interface Payout {
  treasury: bigint;
  operator: bigint;
  /** Ascending by id, each id once. */
  credits: Credit[];
}

/** The three measured pools of a receipt, each empty or summing to 1,000,000 ppm. */
export interface Pools {
  context: readonly AttributionEntry[];
  training: readonly AttributionEntry[];
  tool: readonly AttributionEntry[];
}

const MILLION = BigInt(PPM);
/** Places of the classes among the weights. */
const [PUBLISHER, ADAPTERS, PROMPT, CONTEXT, TRAINING, TOOL] = [0, 1, 2, 3, 4, 5];
const CLASS_OF: Partial<Record<EmptyPool, number>> = {
  [EMPTY_POOL.publisher]: PUBLISHER,
  [EMPTY_POOL.adapters]: ADAPTERS,
  [EMPTY_POOL.prompt]: PROMPT,
};

/**
 * Splits a price among treasury, operator and all who earn, by the floors of cumulative sums, so that the parts add
 * up and no one gains from many small payments.
 *
 * @param price Wei of OPEN.
 * @param protocolShare The treasury's share in ppm.
 * @param agent Id of the agent, under which its publisher earns.
 */
export function splitPrice(
  price: bigint,
  protocolShare: number,
  agent: number,
  composition: Composition,
  pools: Pools,
): Payout {
  const treasury = (price * BigInt(protocolShare)) / MILLION;
  const rest = price - treasury;
  const operator = (rest * BigInt(composition.split.operator)) / MILLION;
  const weights = classWeights(composition, pools);
  const classes = shares(
    rest - operator,
    weights,
    weights.reduce((total, weight) => total + weight, 0),
  );

  const earned = new Map<number, bigint>();
  const credit = (id: number, amount: bigint) => {
    if (amount > 0n) earned.set(id, (earned.get(id) ?? 0n) + amount);
  };
  const creditAll = (members: readonly { id: number }[], parts: readonly number[], amount: bigint) => {
    if (amount === 0n) return;
    const amounts = shares(amount, parts, PPM);
    members.forEach((member, i) => {
      credit(member.id, amounts[i]);
    });
  };
  const creditPool = (entries: readonly AttributionEntry[], amount: bigint) => {
    creditAll(
      entries,
      entries.map((entry) => entry.ppm),
      amount,
    );
  };
  credit(agent, classes[PUBLISHER]);
  const { adapters } = composition;
  creditAll(
    adapters,
    adapters.map((adapter) => adapter.share),
    classes[ADAPTERS],
  );
  credit(composition.prompt?.id ?? 0, classes[PROMPT]);
  creditPool(pools.context, classes[CONTEXT]);
  creditPool(pools.training, classes[TRAINING]);
  creditPool(pools.tool, classes[TOOL]);
  const credits = Array.from(earned, ([id, amount]) => ({ id, amount })).sort((a, b) => a.id - b.id);
  return { treasury, operator, credits };
}

/** Weights of publisher, adapters, prompt, context, training and tools, once the empty pools have given theirs away. */
function classWeights(composition: Composition, pools: Pools): number[] {
  const { split } = composition;
  const own = [split.publisher, split.adapters, split.prompt, split.context, split.training, split.tool];
  const weights: number[] = [...own];
  const giveAway = (pool: number, entries: readonly AttributionEntry[], where: EmptyPool) => {
    if (entries.length > 0) return;
    weights[pool] = 0;
    const heir = CLASS_OF[where];
    // Judged on the composition's own weights: so the order of the pools does not matter.
    if (heir !== undefined && own[heir] > 0) weights[heir] += own[pool];
  };
  giveAway(CONTEXT, pools.context, composition.emptyContext);
  giveAway(TRAINING, pools.training, composition.emptyTraining);
  giveAway(TOOL, pools.tool, composition.emptyTool);
  if (!weights.some((weight) => weight > 0)) weights[PUBLISHER] = 1;
  return weights;
}

/** Parts of an amount by weight: differences of the floors of the cumulative sums. */
function shares(amount: bigint, weights: readonly number[], total: number): bigint[] {
  const denominator = BigInt(total);
  let cumulative = 0;
  let before = 0n;
  return weights.map((weight) => {
    cumulative += weight;
    const after = (amount * BigInt(cumulative)) / denominator;
    const part = after - before;
    before = after;
    return part;
  });
}
