import { encodeFunctionData, type PublicClient } from "viem";
import type { Deployment } from "../../deploy/deployment.ts";
import { contractOf } from "../chain/contracts.ts";
import type { TransactionSender } from "../chain/transactions.ts";
import { fromHex, type Hex } from "../protocol/bytes.ts";
import { awaitUnknown } from "./await-unknown.ts";
import { DEMAND_STATUSES } from "./demand-status.ts";
import { newestFirst } from "./newest-first.ts";
import type { WatchPort } from "./watch-port.ts";

export interface ViemWatchPortOptions {
  client: PublicClient;
  /** Without it, nothing can be proven or demanded. */
  sender?: TransactionSender;
  deployment: Deployment;
  /** Milliseconds to wait for a transaction before it is left unknown. Default 10 minutes. */
  timeout?: number;
  /** Blocks in one request for logs at most. Default 10,000. */
  maxRange?: number;
}

/** The watcher's view of a chain through a JSON-RPC node. Reads are of the newest block. */
export function viemWatchPort(options: ViemWatchPortOptions): WatchPort {
  const { client, sender, deployment, timeout = 600_000, maxRange = 10_000 } = options;
  const settlement = contractOf(deployment, "settlement");
  const send = async (label: string, data: Hex, value?: bigint): Promise<void> => {
    if (!sender) throw new Error(`${label} takes a wallet.`);
    await sender.transact({ label, to: settlement.address, data, value }, { timeout });
  };
  return {
    time: async () => Number((await client.getBlock()).timestamp),
    settled: async () => {
      if (sender) await awaitUnknown(sender, timeout);
    },
    isPending: (operator, height, headerHash) =>
      client.readContract({ ...settlement, functionName: "isPending", args: [operator, height, headerHash] }),
    demandOf: async (headerHash, chunk) => {
      const args = [headerHash, BigInt(chunk)] as const;
      const { status, deadline } = await client.readContract({ ...settlement, functionName: "demandOf", args });
      return { status: DEMAND_STATUSES[status], deadline };
    },
    revealed: async (headerHash, chunk) => {
      const [fromBlock, newest] = [BigInt(deployment.fromBlock), await client.getBlockNumber()];
      const events = newestFirst(fromBlock, newest, maxRange, (range) =>
        client.getContractEvents({ ...settlement, eventName: "ChunkRevealed", args: { headerHash }, ...range }),
      );
      for await (const { args } of events) {
        if (args.chunk !== BigInt(chunk)) continue;
        return args.receipts!.map(({ length, stateRoot, body }) => ({
          length,
          stateRoot: fromHex(stateRoot),
          body: fromHex(body),
        }));
      }
      return undefined;
    },
    proveFraud: (proof) => {
      const data = encodeFunctionData({ ...settlement, functionName: "proveFraud", args: [proof] });
      return send(`Proving a lie in batch ${proof.header.height} of operator ${proof.header.operator}`, data);
    },
    demandChunk: async (header, chunk) => {
      const price = await client.readContract({ ...settlement, functionName: "demandPrice" });
      const data = encodeFunctionData({ ...settlement, functionName: "demandChunk", args: [header, BigInt(chunk)] });
      // Twice: the base fee may rise until the demand is mined, and what is too much comes back.
      await send(`Demanding chunk ${chunk} of batch ${header.height}`, data, 2n * price);
    },
    proveWithheld: (header, chunk) => {
      const data = encodeFunctionData({ ...settlement, functionName: "proveWithheld", args: [header, BigInt(chunk)] });
      return send(`Proving chunk ${chunk} of batch ${header.height} withheld`, data);
    },
  };
}
