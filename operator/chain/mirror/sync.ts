import type { Hex } from "viem";
import type { Deployment } from "../../../deploy/deployment.ts";
import type { MirrorHead, MirrorStore } from "./mirror-store.ts";
import { type ChainLog, type Fact, factOf, watchedAddresses } from "./registry-events.ts";

/** What the mirror asks of a node: a part of viem's public client. */
export interface ChainReader {
  getBlock(
    which: { blockNumber: bigint } | { blockTag: "latest" | "finalized" },
  ): Promise<{ number: bigint | null; hash: Hex | null; timestamp: bigint }>;
  getLogs(range: { address: Hex[]; fromBlock: bigint; toBlock: bigint }): Promise<readonly ChainLog[]>;
}

/** The chain changed while it was being read: reading again helps. */
export class ChainMoved extends Error {
  constructor(block: number) {
    super(`The chain changed around block ${block} while it was being read; it will be read again.`);
    this.name = "ChainMoved";
  }
}

export interface SyncOptions {
  reader: ChainReader;
  deployment: Deployment;
  store: MirrorStore;
  /** Blocks below the newest that count as settled; without it the node's own notion of finality. */
  confirmations?: number;
  /** Blocks in one request for logs at most. Default 10,000. */
  maxRange?: number;
  signal?: AbortSignal;
}

/**
 * Brings a store up to the newest settled block, taking back first what a re-org has replaced.
 *
 * Logs and blocks are read by separate requests, maybe to separate nodes: a range is kept only when the block it ends
 * in was the same before and after, follows what is stored, and each log names the hash that its block has.
 *
 * @returns Whether anything in the store changed.
 * @throws {ChainMoved} When the chain changed under it; what was stored before stands.
 */
export async function syncStore(options: SyncOptions): Promise<boolean> {
  const { reader, deployment, store, signal, maxRange = 10_000 } = options;
  const edge = await settledBlock(options);
  let head = store.head();
  // A node that lags, or a chain that is shorter for the moment, says nothing about what is stored.
  if (edge === undefined || (head && edge.block < head.block)) return false;
  let changed = false;
  if (head && (await headAt(reader, head.block)).hash !== head.hash) {
    head = await newestStanding(reader, store);
    store.rollBack(head);
    changed = true;
  }
  let range = maxRange;
  while ((head?.block ?? deployment.fromBlock - 1) < edge.block) {
    signal?.throwIfAborted();
    const from = (head?.block ?? deployment.fromBlock - 1) + 1;
    const to = Math.min(from + range - 1, edge.block);
    const end = to === edge.block ? edge : await headAt(reader, to);
    let logs: readonly ChainLog[];
    try {
      const address = watchedAddresses(deployment);
      logs = await reader.getLogs({ address, fromBlock: BigInt(from), toBlock: BigInt(to) });
    } catch (error) {
      // Nodes limit ranges and answers, each in words of its own.
      if (from === to) throw error;
      range = Math.max(1, Math.floor((to - from + 1) / 2));
      continue;
    }
    const facts = await factsOf(options, logs);
    const before = head && (await headAt(reader, head.block));
    if (before?.hash !== head?.hash) throw new ChainMoved(from);
    if ((await headAt(reader, to)).hash !== end.hash) throw new ChainMoved(to);
    if (!store.append(head, facts, end)) {
      // Another process that shares the file was faster: what it has read is held against the chain, and the rest read.
      await syncStore(options);
      return true;
    }
    head = end;
    changed = true;
    range = Math.min(maxRange, range * 2);
  }
  return changed;
}

async function settledBlock({ reader, confirmations }: SyncOptions): Promise<MirrorHead | undefined> {
  if (confirmations === undefined) return toHead(await reader.getBlock({ blockTag: "finalized" }));
  const latest = toHead(await reader.getBlock({ blockTag: "latest" }));
  if (confirmations === 0) return latest;
  return latest.block < confirmations ? undefined : headAt(reader, latest.block - confirmations);
}

async function newestStanding(reader: ChainReader, store: MirrorStore): Promise<MirrorHead | undefined> {
  for (const checkpoint of store.checkpoints()) {
    if ((await headAt(reader, checkpoint.block)).hash === checkpoint.hash) return checkpoint;
  }
  return undefined;
}

async function factsOf({ reader, deployment }: SyncOptions, logs: readonly ChainLog[]): Promise<Fact[]> {
  const numbers = [...new Set(logs.map(({ blockNumber }) => Number(blockNumber)))];
  const heads = new Map<number, MirrorHead>();
  // So many at once: viem's transport may put them into one request.
  for (let i = 0; i < numbers.length; i += 32) {
    const some = await Promise.all(numbers.slice(i, i + 32).map((number) => headAt(reader, number)));
    for (const head of some) heads.set(head.block, head);
  }
  return logs.flatMap((log) => {
    const head = heads.get(Number(log.blockNumber))!;
    if (head.hash !== log.blockHash) throw new ChainMoved(head.block);
    return factOf(deployment, log, head.time) ?? [];
  });
}

async function headAt(reader: ChainReader, block: number): Promise<MirrorHead> {
  try {
    return toHead(await reader.getBlock({ blockNumber: BigInt(block) }));
  } catch (error) {
    // There a moment ago: a re-org has made the chain shorter, or another node answers, which lags (viem's error).
    if (error instanceof Error && error.name === "BlockNotFoundError") throw new ChainMoved(block);
    throw error;
  }
}

function toHead(block: { number: bigint | null; hash: Hex | null; timestamp: bigint }): MirrorHead {
  return { block: Number(block.number), hash: block.hash!, time: Number(block.timestamp) };
}
