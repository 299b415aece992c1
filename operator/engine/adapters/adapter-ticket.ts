import type { EngineError } from "../engine-error.ts";
import { contentOf, type Entry } from "./adapter-entry.ts";

/**
 * A request's claim on one adapter, from submission to its end. `hash` is the content that serves it; once a sequence
 * has started it never changes, whatever happens on disk.
 */
export interface AdapterTicket {
  readonly id: string;
  readonly hash: string | undefined;
  readonly error: EngineError | undefined;
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
    return this.checked ? contentOf(this.entry)?.hash : undefined;
  }

  get error(): EngineError | undefined {
    if (this.failure !== undefined || this.fixed !== undefined) return this.failure;
    const { known } = this.entry;
    return this.checked && known !== undefined && "error" in known ? known.error : undefined;
  }
}
