import type { AdapterStore } from "../adapters/adapter-store.ts";
import { EngineError } from "../engine-error.ts";
import { rootKey, wholeBlockKeys } from "../kv/prefix-keys.ts";
import { type CacheContext, SequenceCache } from "../kv/sequence-cache.ts";
import type { ActiveJob } from "./active-job.ts";
import type { Sequence } from "./sequence.ts";
import type { Line, WaitingQueue } from "./waiting-queue.ts";

type JobSequence = Sequence<ActiveJob>;

/** Why a sequence was not admitted: its line waits, or nobody else may pass, or its job has failed. */
type Outcome = "admitted" | "wait" | "stop" | "failed";

/** What a sequence begins with. */
interface Beginning {
  /** Blocks that admitting it takes away from others. */
  readonly blocks: number;
  /** Whether it takes over the beginning of the sequence that it forks from, rather than what is published. */
  readonly forks: boolean;
  /** Of the whole blocks of its input that it will be the first to compute. */
  readonly keys: readonly string[];
}

interface AdmissionOptions {
  readonly store: AdapterStore;
  readonly cache: CacheContext;
  readonly maxBatch: number;
  /** After this many have passed a sequence that waits for slots, the others wait too. */
  readonly maxPasses: number;
  readonly fail: (job: ActiveJob, error: EngineError) => void;
  readonly admitted: (sequence: JobSequence, cachedTokens: number) => void;
}

/**
 * Decides who gets into the batch: preempted sequences first, then the waiting ones in fair order, as far as batch,
 * blocks and slots allow. Owns the list of running sequences and what they share.
 */
export class Admission {
  private readonly options: AdmissionOptions;
  private readonly queue: WaitingQueue<ActiveJob>;
  /** In order of admission. */
  readonly running: JobSequence[] = [];
  /** In order of arrival. */
  readonly preempted: JobSequence[] = [];
  /** Ended sequences whose beginnings others still have to take over. */
  private readonly held = new Set<JobSequence>();
  /** Blocks that running sequences are about to compute: who needs the same ones waits for them. */
  private readonly computing = new Map<string, JobSequence>();

  constructor(queue: WaitingQueue<ActiveJob>, options: AdmissionOptions) {
    this.queue = queue;
    this.options = options;
  }

  /** Fills the batch. */
  admit(): void {
    while (this.preempted.length > 0) {
      if (this.full()) return;
      const outcome = this.start(this.preempted[0]);
      if (outcome === "stop" || outcome === "wait") return;
    }
    for (let progress = true; progress && !this.full(); ) {
      progress = false;
      const lines = this.queue.lines();
      for (const [i, line] of lines.entries()) {
        const outcome = this.admitLine(line, lines[i + 1]);
        if (outcome === "stop") return;
        if (outcome === "admitted") progress = true;
        if (this.full()) return;
      }
    }
  }

  /** Gives back what a sequence holds, unless others still need its beginning. */
  end(sequence: JobSequence): void {
    this.leave(sequence);
    if (sequence.state === "waiting") this.queue.remove(sequence);
    sequence.state = "ended";
    if (sequence.slots !== undefined) this.options.store.release(sequence.slots);
    sequence.slots = undefined;
    if (sequence.pendingForks > 0 && sequence.cache !== undefined) this.held.add(sequence);
    else this.drop(sequence);
    this.forked(sequence);
  }

  /** Takes a sequence's memory away; it is computed again as soon as there is room. */
  preempt(sequence: JobSequence): void {
    this.leave(sequence);
    sequence.state = "preempted";
    this.drop(sequence);
    const at = this.preempted.findIndex((other) => other.job.arrival > sequence.job.arrival);
    this.preempted.splice(at < 0 ? this.preempted.length : at, 0, sequence);
  }

  /** Frees the beginnings that were kept for forks. @returns whether there were any */
  dropHeld(): boolean {
    const any = this.held.size > 0;
    for (const sequence of [...this.held]) this.drop(sequence);
    return any;
  }

  /** The input of a running sequence is computed: nobody waits for it any more. */
  inputComputed(sequence: JobSequence): void {
    for (const key of sequence.prefix?.keys ?? []) if (this.computing.get(key) === sequence) this.computing.delete(key);
  }

  private full(): boolean {
    return this.running.length >= this.options.maxBatch;
  }

  /** Admits from one line until another has received less. */
  private admitLine(line: Line<ActiveJob>, next: Line<ActiveJob> | undefined): Outcome {
    let outcome: Outcome = "wait";
    while (line.sequences.length > 0 && !this.full()) {
      const last = this.start(line.sequences[0]);
      if (last === "failed") continue;
      if (last !== "admitted") return outcome === "admitted" && last === "wait" ? outcome : last;
      outcome = "admitted";
      if (next !== undefined && line.service() > next.service()) break;
    }
    return outcome;
  }

  private start(sequence: JobSequence): Outcome {
    const { store } = this.options;
    const { job } = sequence;
    const tickets = job.adapters.map((adapter) => adapter.ticket);
    const error = sequence.work.error ?? tickets.find((ticket) => ticket.error !== undefined)?.error;
    if (error !== undefined) {
      this.options.fail(job, error);
      return "failed";
    }
    if (!sequence.work.ready) return "wait";
    const parent = sequence.forkDone ? undefined : sequence.fork?.from;
    if (parent !== undefined && parent.state !== "ended" && (parent.cache?.computed ?? 0) < sequence.fork!.length) {
      return "wait";
    }
    if (sequence.slots === undefined && !tickets.every((ticket) => store.ready(ticket))) return "wait";
    const contents = job.adapters.map(({ ticket, weight }) => ({ hash: ticket.hash!, weight }));
    const root = rootKey(contents, this.options.cache.sparse);
    let plan = this.plan(sequence, root);
    if (plan === "wait") return "wait";
    if (!this.fits(plan.blocks)) {
      // What is kept for forks goes first; this sequence may have counted on it, so it is planned anew.
      if (!this.dropHeld()) return "stop";
      plan = this.plan(sequence, root);
      if (plan === "wait") return "wait";
      if (!this.fits(plan.blocks)) return "stop";
    }
    if (sequence.slots === undefined) {
      try {
        sequence.slots = store.acquire(tickets);
      } catch (failure) {
        this.options.fail(job, EngineError.from(failure));
        return "failed";
      }
      if (sequence.slots === undefined) return ++sequence.passedOver > this.options.maxPasses ? "stop" : "wait";
      sequence.adapters = rowAdapters(
        sequence.slots,
        job.adapters.map((adapter) => adapter.weight),
      );
    }
    this.enter(sequence, root, plan);
    return "admitted";
  }

  /** How a sequence would begin, or `wait` where another is computing its beginning. */
  private plan(sequence: JobSequence, root: string): Beginning | "wait" {
    const { pool, blockSize, sparse } = this.options.cache;
    const total = Math.ceil(sequence.length / blockSize);
    const keys = this.keysOf(sequence, root);
    const { found, idle } = pool.reusable(keys, isWhole(sequence) ? undefined : sparse);
    const fork = sequence.forkDone || sequence.fork?.from.cache === undefined ? undefined : sequence.fork;
    // An answer that is scored was often just generated: more of it is published then than it shares with its neighbour.
    if (fork !== undefined && fork.length >= found * blockSize) {
      return { blocks: total - Math.floor(fork.length / blockSize), forks: true, keys: [] };
    }
    if (found < keys.length && this.computing.has(keys[found])) return "wait";
    return { blocks: total - found + idle, forks: false, keys: keys.slice(found) };
  }

  private keysOf(sequence: JobSequence, root: string): readonly string[] {
    const { blockSize } = this.options.cache;
    const limit = sequence.work.firstWanted;
    if (sequence.state === "preempted" || sequence.prefix?.root !== root) {
      sequence.prefix = { root, keys: wholeBlockKeys(root, sequence.tokens, limit, blockSize) };
    }
    return sequence.prefix.keys;
  }

  private fits(blocks: number): boolean {
    // One block to grow into for everybody who is running: admitting only to preempt at once helps nobody.
    return blocks + this.running.length <= this.options.cache.pool.available;
  }

  private enter(sequence: JobSequence, root: string, { forks, keys }: Beginning): void {
    const cache = new SequenceCache(this.options.cache, root);
    const cached = this.takeOver(sequence, cache, forks);
    cache.grow(sequence.length);
    sequence.cache = cache;
    if (sequence.state === "waiting") {
      this.queue.admit(sequence, sequence.length - cached);
      this.forked(sequence);
      this.options.admitted(sequence, cached);
    } else this.preempted.splice(this.preempted.indexOf(sequence), 1);
    sequence.state = "running";
    for (const key of keys) if (!this.computing.has(key)) this.computing.set(key, sequence);
    this.running.push(sequence);
  }

  /** Fills an empty cache with what is there already. @returns positions found */
  private takeOver(sequence: JobSequence, cache: SequenceCache, forks: boolean): number {
    const { fork, tokens, work } = sequence;
    if (forks && cache.adoptFrom(fork!.from.cache!, fork!.length)) return fork!.length;
    return cache.adopt(tokens, work.firstWanted, isWhole(sequence));
  }

  /** A fork has its beginning, or will never need it: the sequence it came from may let go. */
  private forked(sequence: JobSequence): void {
    const parent = sequence.fork?.from;
    if (parent === undefined || sequence.forkDone) return;
    sequence.forkDone = true;
    if (--parent.pendingForks === 0 && this.held.has(parent)) this.drop(parent);
  }

  private leave(sequence: JobSequence): void {
    this.inputComputed(sequence);
    for (const list of [this.running, this.preempted]) {
      const at = list.indexOf(sequence);
      if (at >= 0) list.splice(at, 1);
    }
  }

  private drop(sequence: JobSequence): void {
    sequence.cache?.release();
    sequence.cache = undefined;
    this.held.delete(sequence);
  }
}

/** Others still have to take over a beginning, which may end before what this sequence finds in the cache. */
function isWhole({ pendingForks }: JobSequence): boolean {
  return pendingForks > 0;
}

function rowAdapters(slots: readonly number[], weights: readonly number[]): { slot: number; weight: number }[] {
  const bySlot = new Map<number, number>();
  for (const [i, slot] of slots.entries()) bySlot.set(slot, (bySlot.get(slot) ?? 0) + weights[i]);
  return [...bySlot].filter(([, weight]) => weight !== 0).map(([slot, weight]) => ({ slot, weight }));
}
