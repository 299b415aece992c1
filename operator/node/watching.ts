import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { PublicClient } from "viem";
import type { Deployment } from "../../deploy/deployment.ts";
import type { ContentFetcher } from "../chain/content.ts";
import type { RegistryMirror } from "../chain/mirror.ts";
import type { TransactionSender } from "../chain/transactions.ts";
import { toHex } from "../protocol/bytes.ts";
import type { BatchHeader } from "../protocol/header.ts";
import { publishedName } from "../settlement/publication.ts";
import { viemWatchPort } from "../settlement/viem-watch-port.ts";
import { Watcher } from "../settlement/watcher.ts";
import type { ProtocolWindows } from "./protocol-windows.ts";

/** Where published data may be had. */
export interface PublishedSources {
  mirror: Pick<RegistryMirror, "operator">;
  content: ContentFetcher;
  /** Archives, beside the operators' own endpoints: `https://archive.example/published`, `file:///…`. */
  archives: readonly string[];
  /** A folder of this machine that is asked first. */
  directory?: string;
}

export interface WatchingOptions extends PublishedSources {
  client: PublicClient;
  deployment: Deployment;
  windows: ProtocolWindows;
  separator: Uint8Array;
  mirror: RegistryMirror;
  /** Without it, lies are found and not proven. */
  sender?: TransactionSender;
  demandsPerRound: number;
  replayFinal?: boolean;
}

/** Gets what an operator has published for a header. @throws {ContentError} When no address gives it. */
export async function readPublished(header: BatchHeader, sources: PublishedSources): Promise<Uint8Array> {
  const { mirror, content, archives, directory } = sources;
  const name = publishedName(header.dataHash);
  const near = directory && (await readFile(join(directory, name)).catch(() => undefined));
  if (near) return near;
  const endpoint = mirror.operator(header.operator)?.endpoint;
  const bases = [...archives, ...(endpoint ? [`${endpoint.replace(/\/$/, "")}/published`] : [])];
  const uris = bases.map((base) => `${base.replace(/\/$/, "")}/${name}`);
  return content.bytes(toHex(header.dataHash), uris);
}

/** A watcher over all operators of a chain. */
export function openWatcher(options: WatchingOptions): Watcher {
  const { client, deployment, windows, separator, mirror, sender, demandsPerRound, replayFinal } = options;
  return new Watcher({
    chain: viemWatchPort({ client, deployment, sender }),
    registry: mirror,
    // What cannot be had is demanded.
    fetchData: (header) => readPublished(header, options).catch(() => undefined),
    separator,
    windows,
    prove: sender !== undefined,
    demandsPerRound: sender === undefined ? 0 : demandsPerRound,
    replayFinal,
  });
}
