import { attendsTo, NO_BLOCK, type SparsePattern } from "../model/sparse-attention.ts";

/** A full block that the cache can find again: what is in it and what comes before it. */
interface CachedBlock {
  readonly key: string;
  readonly previous: string;
  readonly tokens: Int32Array;
}

/** Blocks by state, for metrics. `free + idle + used` is the size of the pool. */
interface BlockCounts {
  readonly total: number;
  readonly free: number;
  /** In no sequence, kept because their contents may be wanted again. */
  readonly idle: number;
  readonly used: number;
  /** In more than one sequence. */
  readonly shared: number;
  /** Idle blocks given away so far. */
  readonly evicted: number;
}

/** How far a block that only begins like the wanted tokens may be copied, at most among this many candidates. */
const PARTIAL_CANDIDATES = 64;

/**
 * Hands out the blocks of a KV pool, counts who holds them, and finds published blocks by content. A block that nobody
 * holds stays findable until its memory is needed; the one unused for longest goes first.
 */
export class BlockPool {
  private readonly holders: Int32Array;
  private readonly contents: (CachedBlock | undefined)[];
  private readonly free: number[];
  private readonly idle = new Set<number>();
  private readonly byKey = new Map<string, number>();
  private readonly byPrevious = new Map<string, Set<number>>();
  private evicted = 0;
  private shared = 0;

  constructor(blocks: number) {
    this.holders = new Int32Array(blocks);
    this.contents = new Array(blocks);
    // Descending, so that the first blocks handed out are the first of the pool.
    this.free = Array.from({ length: blocks }, (_, i) => blocks - 1 - i);
  }

  /** Blocks that can be had without taking one from a sequence. */
  get available(): number {
    return this.free.length + this.idle.size;
  }

  get counts(): BlockCounts {
    const total = this.holders.length;
    const [free, idle] = [this.free.length, this.idle.size];
    return { total, free, idle, used: total - free - idle, shared: this.shared, evicted: this.evicted };
  }

  /** A block of unknown contents with one holder, or undefined where all are held. */
  take(): number | undefined {
    const block = this.free.pop() ?? this.evictOldest();
    if (block !== undefined) this.holders[block] = 1;
    return block;
  }

  /** Adds a holder. */
  hold(block: number): void {
    if (this.holders[block]++ === 0) this.idle.delete(block);
    if (this.holders[block] === 2) this.shared++;
  }

  /** Removes a holder; the last one leaves the block idle if it was published, free if not. */
  release(block: number): void {
    const left = --this.holders[block];
    if (left === 1) this.shared--;
    if (left > 0) return;
    if (left < 0) throw new RangeError(`block ${block} was released more often than held`);
    if (this.contents[block] === undefined) this.free.push(block);
    else this.idle.add(block);
  }

  /**
   * Makes a full block findable.
   *
   * @returns the block to use from now on: another one where the same contents were published before
   */
  publish(block: number, key: string, previous: string, tokens: Int32Array): number {
    const known = this.byKey.get(key);
    if (known !== undefined && known !== block) {
      this.hold(known);
      this.release(block);
      return known;
    }
    this.contents[block] = { key, previous, tokens };
    this.byKey.set(key, block);
    const siblings = this.byPrevious.get(previous);
    if (siblings === undefined) this.byPrevious.set(previous, new Set([block]));
    else siblings.add(block);
    return block;
  }

  /**
   * How far a sequence whose blocks have these keys need not be computed.
   *
   * @param sparse what its tokens attend to; where given, blocks that no later token attends to may be missing
   * @returns how many blocks come first, those of them to hold, and how many of these nobody holds
   */
  reusable(keys: readonly string[], sparse?: SparsePattern): { found: number; blocks: Int32Array; idle: number } {
    let found = 0;
    /** The least number of blocks after which nobody attends to those that are missing. */
    let least = 0;
    const known: number[] = [];
    for (const [index, key] of keys.entries()) {
      const block = this.byKey.get(key);
      if (block === undefined) {
        const isNeeded = sparse === undefined || attendsTo(sparse, Number.POSITIVE_INFINITY, index);
        if (isNeeded) break;
        least = index + sparse.localBlocks;
      }
      known.push(block ?? NO_BLOCK);
      // The last one is always there: what was never computed is not called found, needed or not.
      if (block !== undefined && index + 1 >= least) found = index + 1;
    }
    const blocks = Int32Array.from(known.slice(0, found), (block, index) =>
      sparse === undefined || attendsTo(sparse, found, index) ? block : NO_BLOCK,
    );
    const idle = blocks.reduce((sum, block) => sum + (block !== NO_BLOCK && this.holders[block] === 0 ? 1 : 0), 0);
    return { found, blocks, idle };
  }

  /**
   * The published block after `previous` that begins like `tokens` for longest, for a copy.
   *
   * @returns its id and the number of equal tokens, at least one
   */
  findBeginning(previous: string, tokens: Int32Array): { block: number; length: number } | undefined {
    let best: { block: number; length: number } | undefined;
    let looked = 0;
    for (const block of this.byPrevious.get(previous) ?? []) {
      if (looked++ === PARTIAL_CANDIDATES) break;
      const length = commonLength(this.contents[block]!.tokens, tokens);
      if (length > (best?.length ?? 0)) best = { block, length };
    }
    return best;
  }

  private evictOldest(): number | undefined {
    const { value: block, done } = this.idle.values().next();
    if (done) return undefined;
    this.idle.delete(block);
    const { key, previous } = this.contents[block]!;
    this.contents[block] = undefined;
    this.byKey.delete(key);
    const siblings = this.byPrevious.get(previous)!;
    siblings.delete(block);
    if (siblings.size === 0) this.byPrevious.delete(previous);
    this.evicted++;
    return block;
  }
}

function commonLength(a: Int32Array, b: Int32Array): number {
  const end = Math.min(a.length, b.length);
  let length = 0;
  while (length < end && a[length] === b[length]) length++;
  return length;
}
