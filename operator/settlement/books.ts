import { accountOf, type ChannelAccount } from "../protocol/admission.ts";
import type { CommittedReceipt } from "../protocol/batch.ts";
import type { BatchHeader } from "../protocol/header.ts";
import { channelIn, emptyState, type State } from "../protocol/state.ts";

/** The batch that receipts are being added to. */
export interface OpenBooks {
  sequence: number;
  /** B: fixed when the batch is opened, so that all its receipts are judged, and shared out, by one view. */
  registryTime: number;
  /** When its first receipt came, seconds since 1970. */
  since: number;
  receipts: CommittedReceipt[];
}

type InFlight = ReadonlyMap<bigint, bigint>;

/**
 * What the sequencer knows without asking the disk. It runs ahead of the disk only within one group of writes; when
 * that group fails, {@link Books.mark} takes it back.
 */
export class Books {
  state: State = emptyState();
  /** The newest sealed batch. */
  parent: BatchHeader | null = null;
  open: OpenBooks | undefined;
  lastSequence = 0;
  lastPosition = 0;
  /** Receipts in sealed batches that no kept snapshot covers. */
  unkeptReceipts = 0;
  readonly #inFlight = new Map<number, InFlight>();
  #changed: Map<number, InFlight | undefined>[] = [];

  /** A channel's account: its leaf in the state, and its jobs in flight. */
  account(channel: number): ChannelAccount {
    const inFlight = this.#inFlight.get(channel) ?? new Map<bigint, bigint>();
    return { ...accountOf(channelIn(this.state, channel)), inFlight };
  }

  /** Replaces a channel's jobs in flight. */
  setInFlight(channel: number, inFlight: InFlight): void {
    for (const changed of this.#changed) {
      if (!changed.has(channel)) changed.set(channel, this.#inFlight.get(channel));
    }
    this.#put(channel, inFlight);
  }

  /**
   * Remembers the books as they are now.
   *
   * @returns Two ends of that memory, one of which has to be called: marks nest.
   */
  mark(): { keep: () => void; restore: () => void } {
    const { state, parent, open, lastSequence, lastPosition, unkeptReceipts } = this;
    const receiptsInOpen = open?.receipts.length ?? 0;
    const changed = new Map<number, InFlight | undefined>();
    this.#changed.push(changed);
    const keep = () => {
      this.#changed = this.#changed.filter((other) => other !== changed);
    };
    const restore = () => {
      keep();
      for (const [channel, inFlight] of changed) this.#put(channel, inFlight);
      if (open) open.receipts.length = receiptsInOpen;
      Object.assign(this, { state, parent, open, lastSequence, lastPosition, unkeptReceipts });
    };
    return { keep, restore };
  }

  #put(channel: number, inFlight: InFlight | undefined): void {
    if (inFlight && inFlight.size > 0) this.#inFlight.set(channel, inFlight);
    else this.#inFlight.delete(channel);
  }
}
