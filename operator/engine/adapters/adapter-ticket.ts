import type { AdapterSource } from "../engine.ts";
import { EngineError } from "../engine-error.ts";

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
  known: { hash: string; rank: number; bytes: number } | { error: EngineError } | undefined;
  /** What the last look at the files saw, while they are being read. */
  seen: string | undefined;
  reading: Promise<void> | undefined;
  inUse: number;
  whenUnused: (() => void)[];
}

/**
 * A request's claim on one adapter, from submission to its end. `hash` is the content that serves it; once a sequence
 * has started it never changes, whatever happens on disk.
 */
export interface AdapterTicket {
  readonly id: string;
  readonly hash: string | undefined;
  readonly error: EngineError | undefined;
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

/** A ticket as its store sees it. */
export class Ticket implements AdapterTicket {
  readonly entry: Entry;
  /** Whether the files were looked at after this ticket was taken. */
  checked = false;
  ended = false;
  failure: EngineError | undefined;
  fixed: string | undefined;

  constructor(entry: Entry) {
    this.entry = entry;
  }

  get id(): string {
    return this.entry.id;
  }

  get hash(): string | undefined {
    if (this.fixed !== undefined) return this.fixed;
    const { known } = this.entry;
    return this.checked && known !== undefined && "hash" in known ? known.hash : undefined;
  }

  get error(): EngineError | undefined {
    if (this.failure !== undefined || this.fixed !== undefined) return this.failure;
    const { known } = this.entry;
    return this.checked && known !== undefined && "error" in known ? known.error : undefined;
  }
}
