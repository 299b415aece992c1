import { parseEventLogs } from "viem";
import { ABIS } from "../../chain/contracts.ts";
import { type ChainOptions, printResult, withSession } from "../chain/chain-session.ts";

export async function decide(decision: "accept" | "reject", ids: number[], options: ChainOptions): Promise<void> {
  await withSession(options, async ({ transact }) => {
    const label = decision === "accept" ? "Accepting" : "Rejecting";
    const { transactionHash } = await transact(`${label} ${ids.join(", ")}`, "dataNets", decision, [ids]);
    printResult(options.json, { [`${decision}ed`]: ids, transaction: transactionHash });
  });
}

export async function publish(dataNet: number, options: ChainOptions): Promise<void> {
  await withSession(options, async ({ transact }) => {
    const { logs, transactionHash } = await transact("Publishing a version", "dataNets", "publishVersion", [dataNet]);
    const [published] = parseEventLogs({ abi: ABIS.dataNets, eventName: "DataNetVersionPublished", logs });
    printResult(options.json, { dataNet, version: published.args.version, transaction: transactionHash });
  });
}

export async function withdraw(id: number, options: ChainOptions): Promise<void> {
  await withSession(options, async ({ transact }) => {
    const { transactionHash } = await transact(`Withdrawing ${id}`, "dataNets", "withdraw", [id]);
    printResult(options.json, { withdrawn: id, transaction: transactionHash });
  });
}
