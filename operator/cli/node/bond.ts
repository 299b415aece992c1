import { contractOf } from "../../chain/contracts.ts";
import { inOpen, printResult, type Session, withSession } from "../chain/chain-session.ts";
import { defaultKeystore } from "../chain/wallet-file.ts";
import type { NodeFileOptions } from "../operator.ts";
import { readNodeFile } from "./node-file.ts";

/** `openledger operator bond` */
export async function addBond(amount: bigint, options: NodeFileOptions): Promise<void> {
  const { chain, keystore = defaultKeystore(), operator } = readNodeFile(options);
  const { json } = options;
  await withSession({ ...chain, keystore, json, confirmations: 1, timeout: 600 }, async (session) => {
    const bond = await depositBond(session, operator, amount);
    printResult(json, { operator, bond: inOpen(bond), cost: inOpen(session.cost()) });
  });
}

/** Puts up more bond. @returns All of it, in wei of OPEN. */
export async function depositBond(session: Session, operator: number, amount: bigint): Promise<bigint> {
  const operators = contractOf(session.deployment, "operators");
  await session.transact("Allowing the bond", "token", "approve", [operators.address, amount]);
  await session.transact("Putting up the bond", "operators", "depositBond", [operator, amount]);
  return session.client.readContract({ ...operators, functionName: "bondOf", args: [operator] });
}
