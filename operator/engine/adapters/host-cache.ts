import type { LoadedAdapter } from "../model/lora.ts";

/** Adapters in host memory, by content hash: bounded in bytes, the longest unused going first, pinned ones staying. */
export class HostCache {
  readonly limit: number;
  private readonly byHash = new Map<string, LoadedAdapter>();
  private readonly pins = new Map<string, number>();
  private used = 0;
  private reserved = 0;
  private evictions = 0;
  private spare: ArrayBuffer | undefined;

  /** @param limit bytes */
  constructor(limit: number) {
    this.limit = limit;
  }

  get counts(): { adapters: number; bytes: number; evicted: number } {
    return { adapters: this.byHash.size, bytes: this.used, evicted: this.evictions };
  }

  has(hash: string): boolean {
    return this.byHash.has(hash);
  }

  /** Looks up and counts as a use. */
  get(hash: string): LoadedAdapter | undefined {
    const adapter = this.byHash.get(hash);
    if (adapter !== undefined) {
      this.byHash.delete(hash);
      this.byHash.set(hash, adapter);
    }
    return adapter;
  }

  /**
   * Sets memory aside for a load; {@link takeSpare} gives what was pushed out for it.
   * @returns false where pinned adapters and other loads leave no room
   */
  reserve(bytes: number): boolean {
    this.spare = undefined;
    if (!this.makeRoom(bytes)) return false;
    this.reserved += bytes;
    return true;
  }

  /** Ends a reservation. */
  unreserve(bytes: number): void {
    this.reserved -= bytes;
  }

  /** Keeps an adapter. @returns false where it does not fit; nothing else is pushed out then */
  put(adapter: LoadedAdapter): boolean {
    if (this.byHash.has(adapter.hash)) {
      this.get(adapter.hash);
      return true;
    }
    const fits = this.makeRoom(adapter.bytes);
    // Nobody is going to read into it.
    this.spare = undefined;
    if (!fits) return false;
    this.byHash.set(adapter.hash, adapter);
    this.used += adapter.bytes;
    return true;
  }

  /** Memory of an adapter that the last {@link reserve} pushed out, to be used again. */
  takeSpare(): ArrayBuffer | undefined {
    const { spare } = this;
    this.spare = undefined;
    return spare;
  }

  pin(hash: string): void {
    this.pins.set(hash, (this.pins.get(hash) ?? 0) + 1);
  }

  unpin(hash: string): void {
    const left = (this.pins.get(hash) ?? 0) - 1;
    if (left > 0) this.pins.set(hash, left);
    else this.pins.delete(hash);
  }

  /** Bytes that pinned adapters hold. */
  get pinnedBytes(): number {
    let bytes = 0;
    for (const hash of this.pins.keys()) bytes += this.byHash.get(hash)?.bytes ?? 0;
    return bytes;
  }

  drop(hash: string): void {
    const adapter = this.byHash.get(hash);
    if (adapter === undefined) return;
    this.byHash.delete(hash);
    this.used -= adapter.bytes;
  }

  private makeRoom(bytes: number): boolean {
    if (this.pinnedBytes + this.reserved + bytes > this.limit) return false;
    for (const hash of this.byHash.keys()) {
      if (this.used + this.reserved + bytes <= this.limit) return true;
      if (this.pins.has(hash)) continue;
      this.spare = bufferOf(this.byHash.get(hash));
      this.drop(hash);
      this.evictions++;
    }
    return this.used + this.reserved + bytes <= this.limit;
  }
}

/** The buffer of an adapter whose factors lie in one, as a reader makes them. */
function bufferOf(adapter: LoadedAdapter | undefined): ArrayBuffer | undefined {
  for (const layer of adapter?.layers ?? []) for (const { a } of Object.values(layer)) return a.buffer as ArrayBuffer;
  return undefined;
}
