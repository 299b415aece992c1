import { attendsTo, NO_BLOCK, type SparseAttention } from "../model/sparse-attention.ts";
import type { BlockPool } from "./block-pool.ts";
import { blockKey, wholeBlockKeys } from "./prefix-keys.ts";

/** Copies one block's keys and values onto another's. */
type CopyBlock = (from: number, to: number) => void;

/** Below this many tokens computing them again is cheaper than copying a block. */
const WORTH_COPYING = 8;

/** What sequences of one pool have in common. */
export interface CacheContext {
  readonly pool: BlockPool;
  readonly blockSize: number;
  readonly copyBlock: CopyBlock;
  /** What tokens attend to; undefined: to all before them. */
  readonly sparse?: SparseAttention | undefined;
}

/**
 * Keys and values of one sequence: its block table, how many positions are computed, and the chain of keys under which
 * full blocks are published. Full blocks may be shared; the last, partial one never is.
 */
export class SequenceCache {
  private readonly context: CacheContext;
  private readonly root: string;
  private readonly blocks: number[] = [];
  private readonly keys: string[] = [];
  private computedTokens = 0;
  /** Blocks before this one are kept for good, or were given back. */
  private settled = 0;
  private view = new Int32Array(0);

  /** @param root key of the adapters' contents, see `rootKey` */
  constructor(context: CacheContext, root: string) {
    this.context = context;
    this.root = root;
  }

  /** Positions whose keys and values are there. */
  get computed(): number {
    return this.computedTokens;
  }

  /** Block ids in the order of positions, `NO_BLOCK` where one was given back; valid until the table changes. */
  get table(): Int32Array {
    if (this.view.length !== this.blocks.length) this.view = Int32Array.from(this.blocks);
    return this.view;
  }

  /**
   * Takes over what is published of a new sequence's beginning: whole blocks by sharing, the part of one more by
   * copying. The table must be empty.
   *
   * @param limit positions to take at most; one less than the sequence, so that its last token is computed
   * @param whole whether blocks are needed to which this sequence's own tokens do not attend, for one that takes over a
   *   shorter beginning of this one
   * @returns positions found
   */
  adopt(tokens: Int32Array, limit: number, whole = false): number {
    const { pool, blockSize, copyBlock, sparse } = this.context;
    const keys = wholeBlockKeys(this.root, tokens, limit, blockSize);
    const { found, blocks } = pool.reusable(keys, whole ? undefined : sparse);
    for (const block of blocks) if (block !== NO_BLOCK) pool.hold(block);
    this.blocks.push(...blocks);
    this.keys.push(...keys.slice(0, found));
    this.computedTokens = this.blocks.length * blockSize;
    const rest = tokens.subarray(this.computedTokens, Math.min(limit, this.computedTokens + blockSize));
    const partial = pool.findBeginning(this.lastKey(), rest);
    if (partial !== undefined && partial.length >= WORTH_COPYING) {
      // Held while a block for the copy is found, or that search could evict it.
      pool.hold(partial.block);
      const copy = pool.take();
      if (copy !== undefined) {
        copyBlock(partial.block, copy);
        this.blocks.push(copy);
        this.computedTokens += partial.length;
      }
      pool.release(partial.block);
    }
    this.changed();
    return this.computedTokens;
  }

  /**
   * Takes over the first `length` positions of another sequence in flight. The table must be empty, and the other must
   * not have given back blocks of these.
   *
   * @returns false where no block was left for the copy of the last, partial one; nothing is held then
   * @throws RangeError where the other has not all of them any more
   */
  adoptFrom(other: SequenceCache, length: number): boolean {
    const { pool, blockSize, copyBlock } = this.context;
    const whole = Math.floor(length / blockSize);
    const missing = other.blocks.indexOf(NO_BLOCK);
    if (missing >= 0 && missing * blockSize < length) throw new RangeError(`block ${missing} was given back already`);
    let tail: number | undefined;
    if (length % blockSize > 0) {
      tail = pool.take();
      if (tail === undefined) return false;
      copyBlock(other.blocks[whole], tail);
    }
    for (let i = 0; i < whole; i++) {
      pool.hold(other.blocks[i]);
      this.blocks.push(other.blocks[i]);
    }
    if (tail !== undefined) this.blocks.push(tail);
    this.keys.push(...other.keys.slice(0, whole));
    this.computedTokens = length;
    this.changed();
    return true;
  }

  /** Blocks still to be taken before `length` positions fit. */
  missing(length: number): number {
    return Math.max(0, Math.ceil(length / this.context.blockSize) - this.blocks.length);
  }

  /** Makes room for `length` positions. @returns false where the pool ran out; what was taken is kept */
  grow(length: number): boolean {
    while (this.missing(length) > 0) {
      const block = this.context.pool.take();
      if (block === undefined) return false;
      this.blocks.push(block);
      this.changed();
    }
    return true;
  }

  /** Notes that positions up to `to` are computed, and publishes the blocks that became full. */
  advance(tokens: Int32Array, to: number): void {
    const { pool, blockSize } = this.context;
    this.computedTokens = to;
    while ((this.keys.length + 1) * blockSize <= to) {
      const at = this.keys.length;
      const key = this.keyOf(at, tokens);
      const contents = tokens.slice(at * blockSize, (at + 1) * blockSize);
      this.blocks[at] = pool.publish(this.blocks[at], key, this.lastKey(), contents);
      this.keys.push(key);
      this.changed();
    }
  }

  /**
   * Gives back the blocks that no token to come attends to. They stay findable until their memory is needed. For
   * sequences from which nobody is going to take over a beginning.
   *
   * @returns how many
   */
  giveBackUnattended(): number {
    const { pool, blockSize, sparse } = this.context;
    if (sparse === undefined) return 0;
    const next = Math.floor(this.computedTokens / blockSize);
    let given = 0;
    for (; this.settled <= next - sparse.localBlocks; this.settled++) {
      if (attendsTo(sparse, next, this.settled) || this.blocks[this.settled] === NO_BLOCK) continue;
      pool.release(this.blocks[this.settled]);
      this.blocks[this.settled] = NO_BLOCK;
      given++;
    }
    if (given > 0) this.changed();
    return given;
  }

  /** Gives every block back, the last first: beginnings are worth more than ends and stay findable for longer. */
  release(): void {
    while (this.blocks.length > 0) {
      const block = this.blocks.pop()!;
      if (block !== NO_BLOCK) this.context.pool.release(block);
    }
    this.keys.length = 0;
    this.computedTokens = 0;
    this.settled = 0;
    this.changed();
  }

  private keyOf(at: number, tokens: Int32Array): string {
    const { blockSize } = this.context;
    return blockKey(at === 0 ? this.root : this.keys[at - 1], tokens.subarray(at * blockSize, (at + 1) * blockSize));
  }

  private lastKey(): string {
    return this.keys.at(-1) ?? this.root;
  }

  private changed(): void {
    this.view = EMPTY;
  }
}

const EMPTY = new Int32Array(0);
