import { TransactionRefused } from "../chain/transactions/transaction-errors.ts";
import { claimWitness, collectWitness } from "../protocol/claims.ts";
import { headerWitness } from "../protocol/fraud-proof.ts";
import type { BatchHeader } from "../protocol/header.ts";
import { treeEntries } from "../protocol/sparse-tree.ts";
import type { State } from "../protocol/state.ts";
import type { ChainPort } from "./chain-port.ts";

/** A contributor whose claim the contract refuses. */
export interface Unpaid {
  id: number;
  reason: string;
}

/** Channels or contributors in one transaction: with them it stays far below any block's gas. */
const IN_ONE = 50;

/**
 * Collects what the channels owe by the newest final batch and pays all who earned from it: contributors, then the
 * treasury, then the operator, whose claims rank last. What was collected or paid before is left alone.
 *
 * @param state The state that the header commits to.
 * @returns Who could not be paid. A contributor that has named its payees a moment ago, as it likes, makes every claim
 * fail that it stands in: it keeps nobody else from being paid.
 */
export async function payOut(chain: ChainPort, header: BatchHeader, state: State): Promise<Unpaid[]> {
  const spent = Array.from(treeEntries(state.channels), ([channel, record]) => [channel, record.spent] as const);
  const owing = await stillDue(spent, (channels) => chain.collectedOf(channels));
  for (const channels of slices(owing)) await chain.collect(collectWitness(header, state, channels));
  const earned = [...treeEntries(state.earners)];
  const unpaid = await stillDue(earned, (ids) => chain.claimedOf(header.operator, ids));
  const refused: Unpaid[] = [];
  const claim = async (ids: number[]): Promise<void> => {
    try {
      await chain.claim(claimWitness(header, state, ids));
    } catch (error) {
      if (!(error instanceof TransactionRefused) || error.revert === undefined) throw error;
      if (ids.length === 1) {
        refused.push({ id: ids[0], reason: error.message });
        return;
      }
      const half = ids.length >> 1;
      await claim(ids.slice(0, half));
      await claim(ids.slice(half));
    }
  };
  for (const ids of slices(unpaid)) await claim(ids);
  await chain.claimTreasury(headerWitness(header));
  await chain.claimOperator(headerWitness(header));
  return refused;
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
