import type { AdapterInfo, AdapterSource } from "../engine.ts";
import { EngineError } from "../engine-error.ts";
import { contentOf, type Entry, newEntry, repin, unpin } from "./adapter-entry.ts";
import type { AdapterReader } from "./adapter-reader.ts";
import { AdapterReading } from "./adapter-reading.ts";
import { type AdapterTicket, Ticket } from "./adapter-ticket.ts";
import { lookAtFolder } from "./folder-state.ts";
import { HostCache } from "./host-cache.ts";
import { type SlotMemory, SlotTable } from "./slot-table.ts";

/** Adapters in one request at most; pinned ones always leave room for so many others. */
const MAX_BLEND = 8;

interface AdapterStoreOptions {
  readonly reader: AdapterReader;
  readonly slots: number;
  readonly slotMemory: SlotMemory;
  readonly maxRank: number;
  /** Bound on adapters in host memory, bytes. */
  readonly memoryBytes: number;
  /** Upper bound of one adapter in memory, bytes: set aside while an adapter of unknown size is read. */
  readonly largestBytes: number;
  /** Called when a request that waited for an adapter may go on, or must fail. */
  readonly onChange: () => void;
  /** Milliseconds from any fixed point. */
  readonly now: () => number;
}

/**
 * Adapters in three tiers: files, host memory, slots of the runner. Contents are known by their hash; an id only says
 * where the files are, and files are looked at again for every request.
 */
export class AdapterStore {
  private readonly options: AdapterStoreOptions;
  private readonly entries = new Map<string, Entry>();
  private readonly host: HostCache;
  private readonly slots: SlotTable;
  private readonly reading: AdapterReading;
  private wanted: Ticket[] = [];
  private memoryHits = 0;
  /** Adapters that no slot would take. */
  private misfits = 0;

  constructor(options: AdapterStoreOptions) {
    this.options = options;
    this.host = new HostCache(options.memoryBytes);
    this.slots = new SlotTable(options.slots, options.slotMemory);
    this.reading = new AdapterReading({ ...options, host: this.host });
  }

  /** How many adapters of any size one request can blend: as many as memory and slots are sure to hold together. */
  get maxBlend(): number {
    const { memoryBytes, largestBytes, slots } = this.options;
    return Math.min(slots, MAX_BLEND, Math.floor(memoryBytes / largestBytes));
  }

  get counts() {
    return {
      registered: this.entries.size,
      host: this.host.counts,
      slotsActive: this.slots.active,
      slotLoads: this.slots.counts.loads,
      slotHits: this.slots.counts.hits,
      memoryHits: this.memoryHits,
      failures: this.reading.failures + this.misfits,
      loadSeconds: this.reading.loadSeconds,
    };
  }

  /** Registers and reads once. An id that is known keeps serving its old content until the new one has been read. */
  async load(source: AdapterSource): Promise<AdapterInfo> {
    const entry = newEntry(source);
    await this.reading.readNow(entry);
    const replaced = this.entries.get(entry.id);
    if (replaced !== undefined) this.forget(replaced);
    this.entries.set(entry.id, entry);
    if (source.pinned) await this.pin(entry.id, true);
    return this.infoOf(entry);
  }

  /** Registers without reading: what the first request finds is what it gets. */
  register(source: AdapterSource): void {
    if (this.entries.has(source.id)) throw new EngineError("invalid_request", `${source.id} is registered already`);
    this.entries.set(source.id, newEntry(source));
  }

  async prefetch(id: string): Promise<void> {
    const entry = this.entry(id);
    if (contentOf(entry) !== undefined && entry.stamp === (await lookAtFolder(entry.path)).stamp) {
      const content = contentOf(entry);
      if (content !== undefined && this.host.get(content.hash) !== undefined) return;
    }
    await this.reading.readNow(entry);
  }

  async pin(id: string, pinned: boolean): Promise<void> {
    const entry = this.entry(id);
    entry.pinned = pinned;
    if (!pinned) {
      unpin(entry, this.host);
      return;
    }
    await this.prefetch(id);
    repin(entry, this.host);
    const { memoryBytes, largestBytes } = this.options;
    // Requests would wait for memory for ever if pinned adapters left less than the largest blend needs.
    if (entry.pinnedHash === undefined || this.host.pinnedBytes + MAX_BLEND * largestBytes > memoryBytes) {
      entry.pinned = false;
      unpin(entry, this.host);
      throw new EngineError("overloaded", `no memory is left to pin ${id}: ${memoryBytes} bytes are set`);
    }
  }

  /** Resolves when the last request that uses it has ended. New ones are refused at once. */
  async unload(id: string): Promise<void> {
    const entry = this.entry(id);
    this.entries.delete(id);
    if (entry.inUse > 0) await new Promise<void>((resolve) => entry.whenUnused.push(resolve));
    this.forget(entry);
  }

  list(): AdapterInfo[] {
    return [...this.entries.values()].map((entry) => this.infoOf(entry));
  }

  /** A request begins: claims an adapter and starts looking at its files. @throws EngineError `unknown_adapter` */
  begin(id: string): AdapterTicket {
    const ticket = new Ticket(this.entry(id));
    ticket.entry.inUse++;
    void this.check(ticket);
    return ticket;
  }

  /** The request has ended; the claim is void. */
  end(ticket: AdapterTicket): void {
    const own = ticket as Ticket;
    if (own.ended) return;
    own.ended = true;
    const { entry } = own;
    if (--entry.inUse === 0) for (const resolve of entry.whenUnused.splice(0)) resolve();
  }

  /** Whether the content is in a slot or in host memory, so that {@link acquire} needs no disk. */
  ready(ticket: AdapterTicket): boolean {
    return ticket.hash !== undefined && (this.slots.has(ticket.hash) || this.host.has(ticket.hash));
  }

  /**
   * Says which adapters are needed together, the soonest needed first; replaces what was said before. They are read as
   * memory allows, and kept from being pushed out by those that come later in the list.
   */
  want(blends: readonly (readonly AdapterTicket[])[]): void {
    this.wanted = this.withinMemory(blends as readonly (readonly Ticket[])[]);
    for (let i = this.wanted.length - 1; i >= 0; i--) {
      const { hash } = this.wanted[i];
      if (hash !== undefined) this.host.get(hash);
    }
    this.pump();
  }

  /**
   * Brings the contents of all tickets into slots and holds them there.
   *
   * @returns slots in the order of the tickets, or undefined where slots or host copies are missing for now
   * @throws EngineError `adapter_failed`
   */
  acquire(tickets: readonly AdapterTicket[]): number[] | undefined {
    if (!tickets.every((ticket) => this.ready(ticket))) return undefined;
    const hashes = tickets.map((ticket) => ticket.hash!);
    try {
      const slots = this.slots.acquire(hashes, (hash) => {
        const adapter = this.host.get(hash);
        if (adapter !== undefined) this.memoryHits++;
        return adapter;
      });
      if (slots !== undefined) for (const ticket of tickets) (ticket as Ticket).fixed = ticket.hash;
      return slots;
    } catch (error) {
      const failed = new EngineError("adapter_failed", `an adapter cannot be served: ${(error as Error).message}`);
      this.misfits++;
      throw failed;
    }
  }

  release(slots: readonly number[]): void {
    this.slots.release(slots);
  }

  async close(): Promise<void> {
    this.wanted = [];
    await this.options.reader.close();
  }

  private entry(id: string): Entry {
    const entry = this.entries.get(id);
    if (entry === undefined) throw new EngineError("unknown_adapter", `no adapter "${id}" is registered`, { id });
    return entry;
  }

  /** Compares the files with what is known, so that a change on disk is seen by every request that comes after it. */
  private async check(ticket: Ticket): Promise<void> {
    const { entry } = ticket;
    try {
      const { stamp } = await lookAtFolder(entry.path);
      entry.seen = stamp;
      if (stamp !== entry.stamp && entry.reading === undefined) entry.known = undefined;
    } catch (error) {
      ticket.failure = EngineError.from(error, "adapter_failed");
    }
    ticket.checked = true;
    this.pump();
    this.options.onChange();
  }

  /** As many from the front as fit memory together: reading more would push the first ones out again. */
  private withinMemory(blends: readonly (readonly Ticket[])[]): Ticket[] {
    let room = this.host.limit - this.host.pinnedBytes;
    const counted = new Set<Entry>();
    const kept: Ticket[] = [];
    for (const blend of blends) {
      for (const { entry } of blend) {
        if (!counted.has(entry)) room -= this.reading.expectedBytes(entry);
        counted.add(entry);
      }
      if (room < 0 && kept.length > 0) break;
      kept.push(...blend);
    }
    return kept;
  }

  private pump(): void {
    for (const ticket of this.wanted) {
      if (this.reading.isBusy) return;
      const { entry } = ticket;
      const waits = ticket.checked && !ticket.ended && ticket.error === undefined && !this.ready(ticket);
      if (!waits || entry.reading !== undefined) continue;
      // Out of memory for now: the end of a load or of a pin comes back here.
      const reading = this.reading.start(entry);
      if (reading === undefined) return;
      void reading.then(() => {
        this.options.onChange();
        this.pump();
      });
    }
  }

  /** Drops an entry's content unless another entry has the same. */
  private forget(entry: Entry): void {
    unpin(entry, this.host);
    const hash = contentOf(entry)?.hash;
    if (hash === undefined) return;
    for (const other of this.entries.values()) if (other !== entry && contentOf(other)?.hash === hash) return;
    this.host.drop(hash);
    this.slots.drop(hash);
  }

  private infoOf(entry: Entry): AdapterInfo {
    const { id, path, pinned, inUse } = entry;
    const { hash, rank, bytes } = contentOf(entry) ?? {};
    return { id, path, hash, rank, bytes, tier: this.tierOf(hash), pinned, inUse };
  }

  private tierOf(hash: string | undefined): AdapterInfo["tier"] {
    if (hash === undefined) return "disk";
    if (this.slots.has(hash)) return "slot";
    return this.host.has(hash) ? "memory" : "disk";
  }
}
