import { EngineError } from "../engine-error.ts";
import { Histogram } from "../metrics.ts";
import type { LoadedAdapter } from "../model/lora.ts";
import { contentOf, type Entry, repin } from "./adapter-entry.ts";
import type { AdapterReader } from "./adapter-reader.ts";
import type { ReadAdapter } from "./folder-state.ts";
import type { HostCache } from "./host-cache.ts";

/** Reads in flight: the reading thread must not run out of them during a step, when what it has read is not looked at. */
const CONCURRENT_READS = 6;
/** Reads of a folder that keeps changing before it is given up. */
const ATTEMPTS = 4;
/** Names and shapes at the beginning of a file of weights. */
const MAX_HEADER_BYTES = 2 ** 20;
const LOAD_BOUNDS = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5];

interface ReadingOptions {
  readonly reader: AdapterReader;
  readonly host: HostCache;
  readonly maxRank: number;
  /** Upper bound of one adapter in memory, bytes. */
  readonly largestBytes: number;
  /** Milliseconds from any fixed point. */
  readonly now: () => number;
}

/** Brings adapters from their files into host memory, each folder once however many ask, and says why where it fails. */
export class AdapterReading {
  readonly loadSeconds = new Histogram(LOAD_BOUNDS);
  private readonly options: ReadingOptions;
  private readonly host: HostCache;
  private reads = 0;
  private failed = 0;

  constructor(options: ReadingOptions) {
    this.options = options;
    this.host = options.host;
  }

  get failures(): number {
    return this.failed;
  }

  /** Whether another read would have to wait for one in flight. */
  get isBusy(): boolean {
    return this.reads >= CONCURRENT_READS;
  }

  /** @throws EngineError Why it cannot be read; `overloaded` where there is no memory for it now. */
  async readNow(entry: Entry): Promise<void> {
    const reading = this.start(entry);
    if (reading === undefined) {
      throw new EngineError("overloaded", `no memory for ${entry.id}: pinned adapters and loads in flight fill it`);
    }
    await reading;
    if (entry.known !== undefined && "error" in entry.known) throw entry.known.error;
  }

  /** Joins or starts the reading of an entry's files; undefined where memory cannot be set aside for it. */
  start(entry: Entry): Promise<void> | undefined {
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
    this.failed++;
    entry.known = { error: new EngineError(failure.code, failure.message) };
    // What the files themselves cause is remembered until they change; whatever else it was may be over by then.
    const { stamp } = failure.details;
    entry.stamp = adapter?.stamp ?? (typeof stamp === "string" ? stamp : undefined);
    if (failure.code !== "adapter_failed") entry.stamp = undefined;
  }

  /** Host memory that an entry will take; the most that any adapter takes where it has not been read. */
  expectedBytes(entry: Entry): number {
    return contentOf(entry)?.bytes ?? this.options.largestBytes;
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
    if (entry.pinned) repin(entry, this.host);
    return undefined;
  }
}
