import type { AdapterSource } from "../engine.ts";
import { EngineError } from "../engine-error.ts";
import type { HostCache } from "./host-cache.ts";

/** What the files of an adapter were found to hold; `bytes` in host memory. */
interface AdapterContent {
  readonly hash: string;
  readonly rank: number;
  readonly bytes: number;
}

/** An adapter that somebody registered. */
export interface Entry {
  readonly id: string;
  readonly path: string;
  readonly expectedHash: string | undefined;
  pinned: boolean;
  /** Content hash that is pinned in host memory for this entry. */
  pinnedHash: string | undefined;
  /** State of the files when `known` was found out. */
  stamp: string | undefined;
  known: AdapterContent | { error: EngineError } | undefined;
  /** What the last look at the files saw, while they are being read. */
  seen: string | undefined;
  reading: Promise<void> | undefined;
  inUse: number;
  whenUnused: (() => void)[];
}

export function newEntry({ id, path, expectedHash }: AdapterSource): Entry {
  if (id === "") throw new EngineError("invalid_request", "an adapter needs an id");
  return {
    id,
    path,
    expectedHash: expectedHash?.toLowerCase(),
    pinned: false,
    pinnedHash: undefined,
    stamp: undefined,
    known: undefined,
    seen: undefined,
    reading: undefined,
    inUse: 0,
    whenUnused: [],
  };
}

/** What an entry's files held when they were last read without a failure. */
export function contentOf({ known }: Entry): AdapterContent | undefined {
  return known !== undefined && "hash" in known ? known : undefined;
}

/** Pins in host memory what the entry holds now, in the place of what it held before. */
export function repin(entry: Entry, host: HostCache): void {
  const hash = contentOf(entry)?.hash;
  if (hash === entry.pinnedHash) return;
  unpin(entry, host);
  if (hash === undefined || !host.has(hash)) return;
  host.pin(hash);
  entry.pinnedHash = hash;
}

export function unpin(entry: Entry, host: HostCache): void {
  if (entry.pinnedHash !== undefined) host.unpin(entry.pinnedHash);
  entry.pinnedHash = undefined;
}
