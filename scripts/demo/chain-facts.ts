import { decodeFunctionData } from "viem";
import { contractOf } from "../../operator/chain/contracts.ts";
import type { Verdict } from "../../operator/protocol/verdict.ts";
import { type VerdictName, verdictName } from "../../operator/protocol/verdict.ts";
import type { Stage } from "../stage/stage.ts";

/** How an operator's batches stand. */
export async function standingOf({ contracts }: Stage, operator: number) {
  const { tip, finalHeight } = await contracts.settlement.read.chainOf([operator]);
  return { posted: Number(tip), final: Number(finalHeight) };
}

export interface ProvenLie {
  receipt: number;
  verdict: VerdictName;
  prover: string;
  /** Wei of OPEN. */
  reward: bigint;
  burned: bigint;
  gas: bigint;
}

/** The lie that was proven of an operator, once it was. */
export async function provenLieOf({ client, contracts }: Stage, operator: number): Promise<ProvenLie | undefined> {
  const range = { fromBlock: 0n };
  const [proven] = await contracts.settlement.getEvents.FraudProven({ operator }, range);
  const [slashed] = await contracts.operators.getEvents.Slashed({ operator }, range);
  if (!proven || !slashed) return undefined;
  const { gasUsed } = await client.getTransactionReceipt({ hash: proven.transactionHash });
  const { index, verdict, prover } = proven.args;
  const { reward, burned } = slashed.args;
  const name = verdictName(verdict as Verdict);
  return { receipt: index!, verdict: name, prover: prover!, reward: reward!, burned: burned!, gas: gasUsed };
}

/** What an account's transactions to settlement and channels have cost, in gas, by the function called. */
export async function gasByFunction(
  { client, deployment }: Stage,
  account: string,
  fromBlock: bigint,
): Promise<Map<string, bigint>> {
  const contracts = [contractOf(deployment, "settlement"), contractOf(deployment, "channels")];
  const spent = new Map<string, bigint>();
  const newest = await client.getBlockNumber({ cacheTime: 0 });
  for (let blockNumber = fromBlock; blockNumber <= newest; blockNumber++) {
    const { transactions } = await client.getBlock({ blockNumber, includeTransactions: true });
    for (const { from, to, input, hash } of transactions) {
      const contract = contracts.find(({ address }) => address.toLowerCase() === to?.toLowerCase());
      if (!contract || from.toLowerCase() !== account.toLowerCase()) continue;
      const { functionName } = decodeFunctionData({ abi: contract.abi, data: input });
      const { gasUsed } = await client.getTransactionReceipt({ hash });
      spent.set(functionName, (spent.get(functionName) ?? 0n) + gasUsed);
    }
  }
  return spent;
}
