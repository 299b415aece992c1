import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { ChainReader } from "../../chain/mirror/sync.ts";
import { RegistryMirror } from "../../chain/mirror.ts";
import { type ProtocolWindows, readWindows } from "../../node/protocol-windows.ts";
import { domainSeparator } from "../../protocol/voucher.ts";
import { type ChainOptions, type ChainView, note } from "../chain/chain-session.ts";
import { type DataSources, dataSources } from "../chain/data-sources.ts";
import { openLedgerHome } from "../chain/wallet-file.ts";

/** The registries and what operators publish, for whoever checks them from outside. */
export interface ChainArchive extends ChainView, DataSources {
  mirror: RegistryMirror;
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
  const sources = dataSources(data, home);
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
    return { ...chain, ...sources, close: () => mirror.close() };
  } catch (error) {
    mirror.close();
    throw error;
  }
}
