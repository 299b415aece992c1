import { parseEventLogs } from "viem";
import { ABIS } from "../../chain/contracts.ts";
import type { Session } from "../chain/chain-session.ts";

/** What a DataNet's curator does, and what came of it. */
export type Decision = (session: Session) => Promise<Record<string, unknown>>;

export function decide(decision: "accept" | "reject", ids: readonly number[]): Decision {
  return async ({ transact }) => {
    const label = decision === "accept" ? "Accepting" : "Rejecting";
    const { transactionHash } = await transact(`${label} ${ids.join(", ")}`, "dataNets", decision, [ids]);
    return { [`${decision}ed`]: ids, transaction: transactionHash };
  };
}

export function publish(dataNet: number): Decision {
  return async ({ transact }) => {
    const { logs, transactionHash } = await transact("Publishing a version", "dataNets", "publishVersion", [dataNet]);
    const [published] = parseEventLogs({ abi: ABIS.dataNets, eventName: "DataNetVersionPublished", logs });
    return { dataNet, version: published.args.version, transaction: transactionHash };
  };
}

export function withdraw(id: number): Decision {
  return async ({ transact }) => {
    const { transactionHash } = await transact(`Withdrawing ${id}`, "dataNets", "withdraw", [id]);
    return { withdrawn: id, transaction: transactionHash };
  };
}
