import type { LoadedAdapter } from "../model/lora.ts";

/** The part of a model runner that holds adapters. */
export interface SlotMemory {
  loadSlot(slot: number, adapter: LoadedAdapter): void;
  clearSlot(slot: number): void;
}

/** A step reads slots 0 to the highest one in use, so this many places may be wasted before an adapter moves down. */
const SLACK = 4;

/** Which adapter contents are in which slot of the runner, and how many sequences use each. */
export class SlotTable {
  private readonly memory: SlotMemory;
  private readonly hashes: (string | undefined)[];
  private readonly users: Int32Array;
  private readonly lastUse: Float64Array;
  private readonly slotOf = new Map<string, number>();
  private clock = 0;
  private activeCount = 0;
  /** Slots filled so far, and uses that found their adapter in one. */
  readonly counts = { loads: 0, hits: 0 };

  constructor(slots: number, memory: SlotMemory) {
    this.memory = memory;
    this.hashes = new Array(slots);
    this.users = new Int32Array(slots);
    this.lastUse = new Float64Array(slots);
  }

  /** Slots with users. */
  get active(): number {
    return this.activeCount;
  }

  has(hash: string): boolean {
    return this.slotOf.has(hash);
  }

  usersOf(hash: string): number {
    const slot = this.slotOf.get(hash);
    return slot === undefined ? 0 : this.users[slot];
  }

  /**
   * Adds a user to every one of these contents, filling slots from host memory where needed: all of them or none.
   *
   * @param host looks a content up in host memory
   * @returns the slots in the order of `hashes`, or undefined where slots or host copies are missing
   * @throws what the runner throws on an adapter that does not fit; nothing is held then
   */
  acquire(hashes: readonly string[], host: (hash: string) => LoadedAdapter | undefined): number[] | undefined {
    const held: number[] = [];
    try {
      for (const hash of hashes) {
        const slot = this.place(hash, host);
        if (slot === undefined) {
          this.release(held);
          return undefined;
        }
        if (this.users[slot]++ === 0) this.activeCount++;
        this.lastUse[slot] = ++this.clock;
        held.push(slot);
      }
      return held;
    } catch (error) {
      this.release(held);
      throw error;
    }
  }

  release(slots: readonly number[]): void {
    for (const slot of slots) if (--this.users[slot] === 0) this.activeCount--;
  }

  /** Empties the slot of a content that nobody uses any more. */
  drop(hash: string): void {
    const slot = this.slotOf.get(hash);
    if (slot === undefined || this.users[slot] > 0) return;
    this.forget(slot);
    this.memory.clearSlot(slot);
  }

  private place(hash: string, host: (hash: string) => LoadedAdapter | undefined): number | undefined {
    const resident = this.slotOf.get(hash);
    if (resident !== undefined) {
      const low = resident < this.activeCount + SLACK;
      if (this.users[resident] > 0 || low || this.choose(resident) === undefined) {
        this.counts.hits++;
        return resident;
      }
    }
    const adapter = host(hash);
    if (adapter === undefined) {
      if (resident !== undefined) this.counts.hits++;
      return resident;
    }
    const slot = this.choose(resident ?? this.hashes.length);
    if (slot === undefined) return undefined;
    if (resident !== undefined) {
      this.forget(resident);
      this.memory.clearSlot(resident);
    }
    this.forget(slot);
    this.memory.loadSlot(slot, adapter);
    this.hashes[slot] = hash;
    this.slotOf.set(hash, slot);
    this.counts.loads++;
    return slot;
  }

  /** A slot below `end` without users: the longest unused of the low ones, else the lowest of the others. */
  private choose(end: number): number | undefined {
    const low = Math.min(end, this.activeCount + SLACK);
    let best: number | undefined;
    for (let slot = 0; slot < low; slot++) {
      if (this.users[slot] > 0) continue;
      if (this.hashes[slot] === undefined) return slot;
      if (best === undefined || this.lastUse[slot] < this.lastUse[best]) best = slot;
    }
    for (let slot = low; slot < end && best === undefined; slot++) if (this.users[slot] === 0) best = slot;
    return best;
  }

  private forget(slot: number): void {
    const hash = this.hashes[slot];
    if (hash !== undefined) this.slotOf.delete(hash);
    this.hashes[slot] = undefined;
  }
}
