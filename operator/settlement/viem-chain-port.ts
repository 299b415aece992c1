import { encodeFunctionData, type PublicClient } from "viem";
import type { Deployment } from "../../deploy/deployment.ts";
import { contractOf } from "../chain/contracts.ts";
import type { TransactionSender } from "../chain/transactions.ts";
import type { Hex } from "../protocol/bytes.ts";
import type { Verdict } from "../protocol/verdict.ts";
import { awaitUnknown } from "./await-unknown.ts";
import type { ChainPort } from "./chain-port.ts";
import { DEMAND_STATUSES } from "./demand-status.ts";
import { newestFirst } from "./newest-first.ts";

export interface ViemChainPortOptions {
  client: PublicClient;
  /** Of an account that signs for the operator. */
  sender: TransactionSender;
  deployment: Deployment;
  /** The list by which an id is paid now; empty for the owner alone. */
  payeesOf: (id: number) => readonly { account: Hex; sharePpm: number }[];
  /** Milliseconds to wait for a transaction before it is left unknown. Default 10 minutes. */
  timeout?: number;
  /** Blocks in one request for logs at most. Default 10,000. */
  maxRange?: number;
  /** Blocks after which nothing is undone; without it the node's own notion of finality. */
  confirmations?: number;
}

/** The settlement's view of a chain through a JSON-RPC node. Reads are of the newest block. */
export function viemChainPort(options: ViemChainPortOptions): ChainPort {
  const { client, sender, deployment, payeesOf, timeout = 600_000, maxRange = 10_000, confirmations } = options;
  const settlement = contractOf(deployment, "settlement");
  const channels = contractOf(deployment, "channels");
  const send = async (label: string, to: Hex, data: Hex): Promise<void> => {
    await sender.transact({ label, to, data }, { timeout });
  };
  return {
    time: async () => Number((await client.getBlock()).timestamp),
    gasPrice: () => client.getGasPrice(),
    settled: () => awaitUnknown(sender, timeout),
    standing: async (operator, settled = false) => {
      const at = settled ? await settledBlock(client, confirmations) : {};
      return client.readContract({ ...settlement, functionName: "chainOf", args: [operator], ...at });
    },
    batchAt: (operator, height) =>
      client.readContract({ ...settlement, functionName: "batchAt", args: [operator, height] }),
    provenLie: async (operator, headerHash) => {
      const [fromBlock, newest] = [BigInt(deployment.fromBlock), await client.getBlockNumber()];
      const events = newestFirst(fromBlock, newest, maxRange, (range) =>
        client.getContractEvents({
          ...settlement,
          eventName: "FraudProven",
          args: { operator, headerHash },
          ...range,
        }),
      );
      for await (const { args } of events) return { index: args.index!, verdict: args.verdict as Verdict };
      return undefined;
    },
    demandStatus: async (headerHash, chunk) => {
      const args = [headerHash, BigInt(chunk)] as const;
      const { status } = await client.readContract({ ...settlement, functionName: "demandOf", args });
      return DEMAND_STATUSES[status];
    },
    collectedOf: (ids) =>
      Promise.all(ids.map((id) => client.readContract({ ...channels, functionName: "collectedOf", args: [id] }))),
    claimedOf: (operator, ids) =>
      Promise.all(
        ids.map((id) => client.readContract({ ...settlement, functionName: "claimedOf", args: [operator, id] })),
      ),
    submitBatch: (header) => {
      const data = encodeFunctionData({ ...settlement, functionName: "submitBatch", args: [header] });
      return send(`Posting batch ${header.height}`, settlement.address, data);
    },
    finalize: (operator, height) => {
      const data = encodeFunctionData({ ...settlement, functionName: "finalize", args: [operator, height] });
      return send(`Finalising up to batch ${height}`, settlement.address, data);
    },
    collect: ({ header, collections, siblings, bitmap }) => {
      const args = [header, collections, siblings, bitmap] as const;
      const data = encodeFunctionData({ ...channels, functionName: "collect", args });
      return send(`Collecting from ${collections.length} channels`, channels.address, data);
    },
    claim: (witness) => {
      const payees = witness.ids.map((id) => [...payeesOf(id)]);
      const data = encodeFunctionData({ ...settlement, functionName: "claim", args: [{ ...witness, payees }] });
      return send(`Paying ${witness.ids.length} contributors`, settlement.address, data);
    },
    claimTreasury: (header) => {
      const data = encodeFunctionData({ ...settlement, functionName: "claimTreasury", args: [header] });
      return send("Paying the treasury", settlement.address, data);
    },
    claimOperator: (header) => {
      const data = encodeFunctionData({ ...settlement, functionName: "claimOperator", args: [header] });
      return send("Paying the operator", settlement.address, data);
    },
    revealChunk: (header, chunk, { receipts, path }) => {
      const args = [header, BigInt(chunk), receipts, path] as const;
      const data = encodeFunctionData({ ...settlement, functionName: "revealChunk", args });
      return send(`Revealing chunk ${chunk} of batch ${header.height}`, settlement.address, data);
    },
  };
}

async function settledBlock(client: PublicClient, confirmations: number | undefined) {
  if (confirmations === undefined) return { blockTag: "finalized" } as const;
  const newest = await client.getBlockNumber({ cacheTime: 0 });
  const depth = BigInt(confirmations);
  return { blockNumber: newest > depth ? newest - depth : 0n };
}
