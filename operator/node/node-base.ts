import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { createPublicClient, http, type LocalAccount, type PublicClient } from "viem";
import type { Deployment } from "../../deploy/deployment.ts";
import { ContentFetcher } from "../chain/content.ts";
import type { ChainReader } from "../chain/mirror/sync.ts";
import { RegistryMirror } from "../chain/mirror.ts";
import { TransactionSender } from "../chain/transactions.ts";
import type { MetricFamily } from "../engine/metrics.ts";
import { domainSeparator } from "../protocol/voucher.ts";
import type { NodeConfig } from "./config.ts";
import { firstSync } from "./first-sync.ts";
import { type ProtocolWindows, readWindows } from "./protocol-windows.ts";

/** What somebody has to look at, and numbers for those who watch them. */
export interface PartReport {
  alarms: readonly string[];
  /** End of the last round of settling in which nothing failed, seconds since 1970. */
  lastSettlement?: number;
}

export interface NodePart {
  report?: () => PartReport;
  metrics?: () => Promise<readonly MetricFamily[]>;
}

/** What every role stands on. */
export interface NodeBase {
  config: NodeConfig;
  client: PublicClient;
  deployment: Deployment;
  windows: ProtocolWindows;
  separator: Uint8Array;
  mirror: RegistryMirror;
  content: ContentFetcher;
  /** Folder of this operator on this chain. */
  folder: string;
  /** Fires when the node stops. */
  signal: AbortSignal;
  /** Says something to whoever looks at the log. */
  say: (line: string) => void;
  /** What sends for the node's account: one for all roles of the process. */
  sender: () => TransactionSender;
  /** Is called when the node stops; the last added first. */
  atClose: (close: () => unknown) => void;
  /** Parts that are there so far. */
  parts: NodePart[];
}

export interface BaseOptions {
  config: NodeConfig;
  deploymentOf: (chainId: number) => Deployment;
  account: LocalAccount | undefined;
  /** Folder of the transactions' journals, one for each account on this machine, whatever program sends. */
  transactions: string;
  signal: AbortSignal;
  say: (line: string) => void;
  atClose: (close: () => unknown) => void;
}

/** Opens the chain and the copy of its registries, and reads both up to now. @throws Error that says what is wrong. */
export async function openBase(options: BaseOptions): Promise<NodeBase> {
  const { config, account, transactions, signal, say, atClose } = options;
  const { rpc, confirmations, maxRange, intervalSeconds } = config.chain;
  const client = createPublicClient({ transport: http(rpc, { batch: true }), cacheTime: 0 }) as PublicClient;
  const chainId = await client.getChainId().catch((cause: unknown) => {
    // Whoever reads the log need not know the key that many endpoints carry in their path.
    throw new Error(`No chain answers at ${new URL(rpc).origin} (chain.rpc).`, { cause });
  });
  const deployment = options.deploymentOf(chainId);
  const windows = await readWindows(client, deployment);
  const folder = join(config.data, `chain-${chainId}-operator-${config.operator}`);
  mkdirSync(folder, { recursive: true, mode: 0o700 });

  const reader = client as unknown as ChainReader;
  const file = join(config.data, `mirror-${chainId}.sqlite`);
  const mirror = new RegistryMirror({ file, reader, deployment, confirmations, maxRange });
  atClose(() => mirror.close());
  say("Reading the registries ...");
  await firstSync(mirror, { signal, say });
  const onError = (error: Error) => say(`The chain could not be read: ${error.message}`);
  const following = mirror.follow(signal, { interval: intervalSeconds * 1_000, onError });
  atClose(() => following);

  const { ipfsGateways, folders, trustedOrigins, maxMiB } = config.content;
  const maxBytes = maxMiB === undefined ? {} : { maxBytes: maxMiB * 2 ** 20 };
  const cache = join(config.data, "content");
  const content = new ContentFetcher({ cache, ipfsGateways, folders, trustedOrigins, ...maxBytes });

  let opened: TransactionSender | undefined;
  const sender = () => {
    if (opened) return opened;
    if (!account) throw new Error("A wallet is needed: set keystore, or OPENLEDGER_PRIVATE_KEY.");
    mkdirSync(transactions, { recursive: true, mode: 0o700 });
    const journal = join(transactions, `${chainId}-${account.address.toLowerCase()}.sqlite`);
    opened = new TransactionSender({ client, account, file: journal, confirmations: Math.max(1, confirmations ?? 1) });
    atClose(() => opened?.close());
    return opened;
  };
  const verifyingContract = deployment.contracts.channels;
  const separator = domainSeparator({ chainId: BigInt(chainId), verifyingContract });
  const base = {
    config,
    client,
    deployment,
    windows,
    separator,
    mirror,
    content,
    folder,
    signal,
    say,
    sender,
    atClose,
  };
  return { ...base, parts: [{ report: () => mirrorReport(mirror) }] };
}

function mirrorReport(mirror: RegistryMirror): PartReport {
  const { lastError } = mirror.health();
  return { alarms: lastError === undefined ? [] : [`The registries could not be read: ${lastError}`] };
}
