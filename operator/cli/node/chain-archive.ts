import { mkdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { ContentFetcher } from "../../chain/content.ts";
import type { ChainReader } from "../../chain/mirror/sync.ts";
import { RegistryMirror } from "../../chain/mirror.ts";
import { type ProtocolWindows, readWindows } from "../../node/protocol-windows.ts";
import { domainSeparator } from "../../protocol/voucher.ts";
import { type ChainOptions, type ChainView, note } from "../chain/chain-session.ts";
import { openLedgerHome } from "../chain/wallet-file.ts";

/** The registries and what operators publish, for whoever checks them from outside. */
export interface ChainArchive extends ChainView {
  mirror: RegistryMirror;
  content: ContentFetcher;
  archives: string[];
  /** Origins that may be on a private network: whoever asks has named them. */
  trustedOrigins: string[];
  windows: ProtocolWindows;
  separator: Uint8Array;
  close(): void;
}

/** Opens them, and reads the registries up to now. */
export async function openArchive(
  { client, deployment }: ChainView,
  { data, finality }: Pick<ChainOptions, "rpc"> & { data: string[]; finality?: number },
  signal: AbortSignal,
): Promise<ChainArchive> {
  const home = openLedgerHome();
  mkdirSync(home, { recursive: true, mode: 0o700 });
  const isAddress = (address: string) => /^\w+:\/\//.test(address);
  const folders = data.flatMap((address) => {
    if (address.startsWith("file:")) return fileURLToPath(address);
    return isAddress(address) ? [] : resolve(address);
  });
  const archives = data.map((address) => (isAddress(address) ? address : pathToFileURL(resolve(address)).href));
  const trustedOrigins = data.flatMap((address) => (/^https?:/.test(address) ? new URL(address).origin : []));
  const ipfsGateways = [process.env.OPENLEDGER_IPFS_GATEWAY ?? "https://ipfs.io"];
  const content = new ContentFetcher({ cache: join(home, "content"), folders, trustedOrigins, ipfsGateways });
  const { chainId, contracts } = deployment;
  const file = join(home, `mirror-${chainId}.sqlite`);
  const mirror = new RegistryMirror({
    ...{ file, deployment, reader: client as unknown as ChainReader },
    ...(finality !== undefined && { confirmations: finality }),
  });
  try {
    note("Reading the registries ...");
    await mirror.sync(signal);
    const windows = await readWindows(client, deployment);
    const separator = domainSeparator({ chainId: BigInt(chainId), verifyingContract: contracts.channels });
    const chain = { client, deployment, mirror, windows, separator };
    return { ...chain, content, archives, trustedOrigins, close: () => mirror.close() };
  } catch (error) {
    mirror.close();
    throw error;
  }
}
