import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type Command, InvalidArgumentError } from "commander";
import {
  type Abi,
  type ContractFunctionArgs,
  type ContractFunctionName,
  createPublicClient,
  encodeFunctionData,
  formatEther,
  type Hex,
  http,
  type LocalAccount,
  type PublicClient,
  parseEther,
  type TransactionReceipt,
} from "viem";
import { privateKeyToAccount } from "viem/accounts";
import { readAddresses } from "../../../deploy/addresses.ts";
import type { Deployment } from "../../../deploy/deployment.ts";
import { type ABIS, type ContractKey, contractOf } from "../../chain/contracts.ts";
import { TransactionSender } from "../../chain/transactions.ts";
import { defaultKeystore, openLedgerHome, readKey } from "./wallet-file.ts";

export interface ChainOptions {
  rpc: string;
  addresses?: string;
  keystore: string;
  confirmations: number;
  timeout: number;
  json: boolean;
}

/** Adds what every command that talks to a chain takes. */
export function withChainOptions(command: Command): Command {
  const rpc = process.env.OPENLEDGER_RPC;
  command
    .option(
      "--addresses <file>",
      "where the contracts are (default: what is known of the chain)",
      process.env.OPENLEDGER_ADDRESSES,
    )
    .option("--keystore <file>", "encrypted wallet", defaultKeystore())
    .option("--confirmations <n>", "blocks that a transaction needs, its own counted", count, 1)
    .option("--timeout <seconds>", "how long to wait for a transaction", count, 600)
    .option("--json", "print one JSON object", false);
  return rpc === undefined
    ? command.requiredOption("--rpc <url>", "JSON-RPC endpoint of the chain; or set OPENLEDGER_RPC")
    : command.option("--rpc <url>", "JSON-RPC endpoint of the chain", rpc);
}

/** A chain that a command talks to, without a wallet. */
export interface ChainView {
  client: PublicClient;
  deployment: Deployment;
}

/** @throws Error that says what is wrong with the endpoint or what is not known of its chain. */
export async function openChain({ rpc, addresses }: ChainOptions): Promise<ChainView> {
  if (!/^https?:\/\//.test(rpc)) throw new Error(`--rpc must be an http or https address, not ${rpc}.`);
  const client = createPublicClient({ transport: http(rpc, { batch: true }), cacheTime: 0 }) as PublicClient;
  let chainId: number;
  try {
    chainId = await client.getChainId();
  } catch (error) {
    throw new Error(`No chain answers at ${new URL(rpc).origin}.`, { cause: error });
  }
  const deployment: Deployment = addresses ? JSON.parse(readFileSync(addresses, "utf8")) : readAddresses(chainId);
  if (deployment.chainId !== chainId) {
    throw new Error(`${addresses} is of chain ${deployment.chainId}, but --rpc leads to chain ${chainId}.`);
  }
  return { client, deployment };
}

/** A chain and the wallet that signs on it. */
export interface Session extends ChainView {
  account: LocalAccount;
  /** What all transactions of the session have cost, in wei of the chain's coin. */
  cost: () => bigint;
  transact<K extends ContractKey, F extends ContractFunctionName<(typeof ABIS)[K], "nonpayable" | "payable">>(
    label: string,
    contract: K,
    functionName: F,
    args: ContractFunctionArgs<(typeof ABIS)[K], "nonpayable" | "payable", F>,
  ): Promise<TransactionReceipt>;
}

/** How a wallet's transactions are sent and kept. */
export interface SendingOptions {
  /** Journal of the account's transactions on this chain. */
  file: string;
  confirmations: number;
  /** Milliseconds to wait for a transaction. */
  timeout: number;
  /** Milliseconds between looks at one. */
  interval: number;
  /** Told how it goes. */
  say: (line: string) => void;
}

/** Opens a wallet on a chain, and settles first what was sent from it earlier and left unknown. */
export async function openSession(
  { client, deployment }: ChainView,
  account: LocalAccount,
  { file, confirmations, timeout, interval, say }: SendingOptions,
): Promise<Session & { close: () => void }> {
  const sender = new TransactionSender({ client, account, file, confirmations, interval });
  let cost = 0n;
  try {
    for (const { id, label } of sender.pending()) {
      say(`${label} was sent earlier and is not settled: waiting for it`);
      await sender.wait(id, { timeout });
    }
  } catch (error) {
    sender.close();
    throw error;
  }
  return {
    client,
    deployment,
    account,
    cost: () => cost,
    async transact(label, contract, functionName, args) {
      const { address, abi } = contractOf(deployment, contract);
      const data = encodeFunctionData({
        abi: abi as Abi,
        functionName: functionName as string,
        args: args as readonly unknown[],
      });
      say(`${label} ...`);
      const receipt = await sender.transact({ label, to: address, data }, { timeout });
      cost += receipt.gasUsed * receipt.effectiveGasPrice;
      say(`${label}: ${receipt.transactionHash} in block ${receipt.blockNumber}, gas ${receipt.gasUsed}`);
      return receipt;
    },
    close: () => sender.close(),
  };
}

/** Opens chain and wallet for one command. */
export async function withSession<T>(options: ChainOptions, work: (session: Session) => Promise<T>): Promise<T> {
  const view = await openChain(options);
  const account = privateKeyToAccount(await readKey(options.keystore));
  const folder = join(openLedgerHome(), "transactions");
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const file = join(folder, `${view.deployment.chainId}-${account.address.toLowerCase()}.sqlite`);
  const { confirmations } = options;
  const timeout = options.timeout * 1_000;
  const session = await openSession(view, account, { file, confirmations, timeout, interval: 1_000, say: note });
  try {
    return await work(session);
  } finally {
    session.close();
  }
}

/** Says how work goes, where it does not stand in the way of results. */
export function note(text: string): void {
  process.stderr.write(`${text}\n`);
}

/** Prints a result: one JSON object, or a line for each entry. Amounts are given as decimal text. */
export function printResult(json: boolean, result: Record<string, unknown>): void {
  const plain = (_key: string, value: unknown) => (typeof value === "bigint" ? value.toString() : value);
  if (json) {
    console.log(JSON.stringify(result, plain));
    return;
  }
  const width = Math.max(...Object.keys(result).map((key) => key.length));
  for (const [key, value] of Object.entries(result)) {
    console.log(`${key.padEnd(width)}  ${typeof value === "object" ? JSON.stringify(value, plain) : value}`);
  }
}

/** Wei as a decimal number of OPEN. */
export const inOpen = (wei: bigint): string => formatEther(wei);

/** `12.5`: an amount of OPEN, in wei. */
export function openAmount(text: string): bigint {
  if (!/^\d+(\.\d{1,18})?$/.test(text)) throw new InvalidArgumentError("It must be an amount of OPEN, like 12.5.");
  return parseEther(text);
}

export function count(text: string): number {
  if (!/^\d+$/.test(text) || Number(text) === 0) throw new InvalidArgumentError("It must be a whole number above 0.");
  return Number(text);
}

export function hexAddress(text: string): Hex {
  if (!/^0x[0-9a-fA-F]{40}$/.test(text)) throw new InvalidArgumentError("It must be an address: 0x and 40 digits.");
  return text as Hex;
}
