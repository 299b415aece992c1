import type { AdapterInfo, AdapterSource } from "../engine.ts";
import { EngineError } from "../engine-error.ts";
import { Histogram } from "../metrics.ts";
import type { LoadedAdapter } from "../model/lora.ts";
import type { AdapterReader } from "./adapter-reader.ts";
import { type AdapterTicket, type Entry, newEntry, Ticket } from "./adapter-ticket.ts";
import { lookAtFolder, type ReadAdapter } from "./folder-state.ts";
import { HostCache } from "./host-cache.ts";
import { type SlotMemory, SlotTable } from "./slot-table.ts";

/** Reads in flight: the reading thread must not run out of them during a step, when what it has read is not looked at. */
const CONCURRENT_READS = 6;
/** Reads of a folder that keeps changing before it is given up. */
const ATTEMPTS = 4;
/** Adapters in one request at most; pinned ones always leave room for so many others. */
const MAX_BLEND = 8;
/** Names and shapes at the beginning of a file of weights. */
const MAX_HEADER_BYTES = 2 ** 20;
const LOAD_BOUNDS = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5];

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
  private wanted: Ticket[] = [];
  private reads = 0;
  private readonly loadSeconds = new Histogram(LOAD_BOUNDS);
  private memoryHits = 0;
  private failures = 0;

  constructor(options: AdapterStoreOptions) {
    this.options = options;
    this.host = new HostCache(options.memoryBytes);
    this.slots = new SlotTable(options.slots, options.slotMemory);
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
      failures: this.failures,
      loadSeconds: this.loadSeconds,
    };
  }

  /** Registers and reads once. An id that is known keeps serving its old content until the new one has been read. */
  async load(source: AdapterSource): Promise<AdapterInfo> {
    const entry = newEntry(source);
    await this.readNow(entry);
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
    if (entry.known !== undefined && "hash" in entry.known && entry.stamp === (await lookAtFolder(entry.path)).stamp) {
      if (this.host.get(entry.known.hash) !== undefined) return;
    }
    await this.readNow(entry);
  }

  async pin(id: string, pinned: boolean): Promise<void> {
    const entry = this.entry(id);
    entry.pinned = pinned;
    if (!pinned) {
      this.unpin(entry);
      return;
    }
    await this.prefetch(id);
    this.repin(entry);
    const { memoryBytes, largestBytes } = this.options;
    // Requests would wait for memory for ever if pinned adapters left less than the largest blend needs.
    if (entry.pinnedHash === undefined || this.host.pinnedBytes + MAX_BLEND * largestBytes > memoryBytes) {
      entry.pinned = false;
      this.unpin(entry);
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
      this.failures++;
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
        if (!counted.has(entry)) room -= this.expectedBytes(entry);
        counted.add(entry);
      }
      if (room < 0 && kept.length > 0) break;
      kept.push(...blend);
    }
    return kept;
  }

  private pump(): void {
    for (const ticket of this.wanted) {
      if (this.reads >= CONCURRENT_READS) return;
      const { entry } = ticket;
      const waits = ticket.checked && !ticket.ended && ticket.error === undefined && !this.ready(ticket);
      if (!waits || entry.reading !== undefined) continue;
      // Out of memory for now: the end of a load or of a pin comes back here.
      const reading = this.startReading(entry);
      if (reading === undefined) return;
      void reading.then(() => {
        this.options.onChange();
        this.pump();
      });
    }
  }

  private async readNow(entry: Entry): Promise<void> {
    const reading = this.startReading(entry);
    if (reading === undefined) {
      throw new EngineError("overloaded", `no memory for ${entry.id}: pinned adapters and loads in flight fill it`);
    }
    await reading;
    if (entry.known !== undefined && "error" in entry.known) throw entry.known.error;
  }

  /** Joins or starts the reading of an entry's files; undefined where memory cannot be set aside for it. */
  private startReading(entry: Entry): Promise<void> | undefined {
    if (entry.reading !== undefined) return entry.reading;
    const reserved = this.expectedBytes(entry);
    if (!this.host.reserve(reserved)) return undefined;
    entry.reading = this.read(entry, reserved);
    return entry.reading;
  }

  private async read(entry: Entry, reserved: number): Promise<void> {
    this.reads++;
    const started = this.options.now();
    const maxBytes = this.options.largestBytes + MAX_HEADER_BYTES;
    let spare = this.host.takeSpare();
    let adapter: ReadAdapter | undefined;
    let failure: EngineError | undefined;
    try {
      for (let attempt = 0; adapter === undefined; attempt++) {
        if (attempt === ATTEMPTS) throw new EngineError("adapter_failed", `${entry.path} changes while it is read`);
        entry.seen = undefined;
        const reading = this.options.reader.read(entry.path, maxBytes, spare);
        spare = undefined;
        const read = await reading;
        // Where somebody saw other files since, what was read may be older than that request.
        if ((entry.seen ?? read.stamp) === read.stamp) adapter = read;
      }
    } catch (error) {
      failure = EngineError.from(error, "adapter_failed");
    }
    // From here on nothing waits, so that nobody sees memory that is neither set aside nor in use.
    this.reads--;
    entry.reading = undefined;
    this.host.unreserve(reserved);
    failure ??= this.accept(entry, adapter!);
    if (failure === undefined) {
      entry.stamp = adapter!.stamp;
      this.loadSeconds.observe((this.options.now() - started) / 1000);
      return;
    }
    this.failures++;
    entry.known = { error: new EngineError(failure.code, failure.message) };
    // What the files themselves cause is remembered until they change; whatever else it was may be over by then.
    const { stamp } = failure.details;
    entry.stamp = adapter?.stamp ?? (typeof stamp === "string" ? stamp : undefined);
    if (failure.code !== "adapter_failed") entry.stamp = undefined;
  }

  private expectedBytes(entry: Entry): number {
    return entry.known !== undefined && "bytes" in entry.known ? entry.known.bytes : this.options.largestBytes;
  }

  private accept(entry: Entry, adapter: LoadedAdapter): EngineError | undefined {
    const { id, expectedHash } = entry;
    const { hash, rank, bytes } = adapter;
    if (expectedHash !== undefined && expectedHash !== hash) {
      return new EngineError("adapter_failed", `${id}: content is ${hash}, expected ${expectedHash}`);
    }
    const { maxRank } = this.options;
    if (rank > maxRank) {
      return new EngineError("adapter_failed", `${id}: rank ${rank}, this engine is set for ${maxRank}`);
    }
    if (!this.host.put(adapter)) return new EngineError("overloaded", `no memory for ${id}: it takes ${bytes} bytes`);
    entry.known = { hash, rank, bytes };
    if (entry.pinned) this.repin(entry);
    return undefined;
  }

  private repin(entry: Entry): void {
    const hash = entry.known !== undefined && "hash" in entry.known ? entry.known.hash : undefined;
    if (hash === entry.pinnedHash) return;
    this.unpin(entry);
    if (hash === undefined || !this.host.has(hash)) return;
    this.host.pin(hash);
    entry.pinnedHash = hash;
  }

  private unpin(entry: Entry): void {
    if (entry.pinnedHash !== undefined) this.host.unpin(entry.pinnedHash);
    entry.pinnedHash = undefined;
  }

  /** Drops an entry's content unless another entry has the same. */
  private forget(entry: Entry): void {
    this.unpin(entry);
    if (entry.known === undefined || !("hash" in entry.known)) return;
    const { hash } = entry.known;
    for (const other of this.entries.values()) {
      if (other !== entry && other.known !== undefined && "hash" in other.known && other.known.hash === hash) return;
    }
    this.host.drop(hash);
    this.slots.drop(hash);
  }

  private infoOf(entry: Entry): AdapterInfo {
    const known = entry.known !== undefined && "hash" in entry.known ? entry.known : undefined;
    const tier =
      known === undefined
        ? "disk"
        : this.slots.has(known.hash)
          ? "slot"
          : this.host.has(known.hash)
            ? "memory"
            : "disk";
    const { id, path, pinned, inUse } = entry;
    return { id, path, hash: known?.hash, rank: known?.rank, bytes: known?.bytes, tier, pinned, inUse };
  }
}
