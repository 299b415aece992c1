import type { Attribution } from "../../operator/api/attribution.ts";
import type { Stage } from "../stage/stage.ts";
import type { Operator } from "./olga.ts";
import type { Payer } from "./payers.ts";
import type { People } from "./people.ts";
import type { Entry } from "./registry.ts";

/** The sums of the story, each from another witness; all amounts are wei of OPEN. */
export interface Ledger {
  /** What the receipts that came with the answers say. */
  receipts: bigint;
  /** What the payers' own ledgers say. */
  payers: bigint;
  /** What the channels' contract has let go. */
  collected: bigint;
  /** What reached wallets: contributors, operator, treasury. */
  received: bigint;
  earned: { entry: Entry; amount: bigint }[];
  operator: bigint;
  treasury: bigint;
}

/** What everybody held at a time. */
export type Holdings = ReadonlyMap<string, bigint>;

/** Reads what everybody holds, the treasury included. */
export async function readHoldings(stage: Stage, people: People): Promise<Holdings> {
  const treasury = await stage.contracts.parameters.read.treasury();
  const accounts = [...(await people.all()).map(({ account }) => account.address), treasury];
  const { token } = stage.contracts;
  return new Map(
    await Promise.all(
      accounts.map(async (address) => [address.toLowerCase(), await token.read.balanceOf([address])] as const),
    ),
  );
}

/** Adds up, after everything was paid. @param before What everybody held when the batch was on the chain and not final. */
export async function addUp(
  {
    stage,
    people,
    operator,
    payers,
    entries,
    before,
  }: {
    stage: Stage;
    people: People;
    operator: Operator;
    payers: readonly Payer[];
    entries: readonly Entry[];
    before: Holdings;
  },
  attributions: readonly Attribution[],
): Promise<Ledger> {
  const { contracts } = stage;
  const after = await readHoldings(stage, people);
  const gained = (address: string) => {
    const key = address.toLowerCase();
    return (after.get(key) ?? 0n) - (before.get(key) ?? 0n);
  };
  const claimed = await Promise.all(entries.map(({ id }) => contracts.settlement.read.claimedOf([operator.id, id])));
  const collected = await Promise.all(payers.map(({ channel }) => contracts.channels.read.collectedOf([channel])));
  const treasury = gained(await contracts.parameters.read.treasury());
  return {
    receipts: sum(attributions.map(({ price }) => BigInt(price))),
    payers: sum(payers.map(({ ledger }) => ledger.balance().charged)),
    collected: sum(collected),
    received: sum([...after.keys()].map(gained)),
    earned: entries.map((entry, i) => ({ entry, amount: claimed[i] })).filter(({ amount }) => amount > 0n),
    operator: gained(operator.person.account.address),
    treasury,
  };
}

/** Each pair of witnesses and by how many wei they disagree. */
export function differences({ receipts, payers, collected, received, earned, operator, treasury }: Ledger) {
  const contributors = sum(earned.map(({ amount }) => amount));
  return {
    receiptsToPayers: receipts - payers,
    payersToCollected: payers - collected,
    collectedToReceived: collected - received,
    receivedToParts: received - contributors - operator - treasury,
  };
}

export const sum = (amounts: readonly bigint[]): bigint => amounts.reduce((total, amount) => total + amount, 0n);
