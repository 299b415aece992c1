import { claimWitness, collectWitness } from "../protocol/claims.ts";
import { headerWitness } from "../protocol/fraud-proof.ts";
import type { BatchHeader } from "../protocol/header.ts";
import { treeEntries } from "../protocol/sparse-tree.ts";
import type { State } from "../protocol/state.ts";
import type { ChainPort } from "./chain-port.ts";

/** Channels or contributors in one transaction: with them it stays far below any block's gas. */
const IN_ONE = 50;

/**
 * Collects what the channels owe by the newest final batch and pays all who earned from it: contributors, then the
 * treasury, then the operator, whose claims rank last. What was collected or paid before is left alone.
 *
 * @param state The state that the header commits to.
 */
export async function payOut(chain: ChainPort, header: BatchHeader, state: State): Promise<void> {
  const spent = Array.from(treeEntries(state.channels), ([channel, record]) => [channel, record.spent] as const);
  const owing = await stillDue(spent, (channels) => chain.collectedOf(channels));
  for (const channels of slices(owing)) await chain.collect(collectWitness(header, state, channels));
  const earned = [...treeEntries(state.earners)];
  const unpaid = await stillDue(earned, (ids) => chain.claimedOf(header.operator, ids));
  for (const ids of slices(unpaid)) await chain.claim(claimWitness(header, state, ids));
  await chain.claimTreasury(headerWitness(header));
  await chain.claimOperator(headerWitness(header));
}

/** Those of whose amount not all was moved, ascending as given. */
async function stillDue(
  amounts: readonly (readonly [id: number, amount: bigint])[],
  movedOf: (ids: number[]) => Promise<bigint[]>,
): Promise<number[]> {
  const due: number[] = [];
  for (const part of slices(amounts)) {
    const moved = await movedOf(part.map(([id]) => id));
    part.forEach(([id, amount], i) => {
      if (amount > moved[i]) due.push(id);
    });
  }
  return due;
}

function slices<T>(list: readonly T[]): T[][] {
  const parts: T[][] = [];
  for (let i = 0; i < list.length; i += IN_ONE) parts.push(list.slice(i, i + IN_ONE));
  return parts;
}
