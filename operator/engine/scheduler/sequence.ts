import type { EngineError } from "../engine-error.ts";
import type { SequenceCache } from "../kv/sequence-cache.ts";
import type { RowAdapter, StepRow } from "../runtime/model-runner.ts";

/** What a sequence is computed for: which positions' distributions are wanted, and what to do with them. */
export interface SequenceWork {
  /** Positions after which the next-token distribution is wanted, among [from, to), as offsets from `from`. */
  wanted(from: number, to: number): Pick<StepRow, "logitsAt" | "targets" | "normalised">;
  /**
   * Takes what a step computed at the wanted positions.
   *
   * @param logits [wanted, vocab], for work without targets; may be changed
   * @param logprobs [wanted], for work with targets
   * @param normalisers [wanted], for work that wants them
   * @returns the token that the sequence goes on with, or undefined where it goes on with what it has or is done
   */
  take(logits: Float32Array, logprobs: Float32Array, normalisers: Float32Array): number | undefined;
  /** Whether a distribution can be taken now: what restricts it may still be on its way. */
  readonly ready: boolean;
  /** Why it never will be. */
  readonly error: EngineError | undefined;
  /** Nothing more is wanted. */
  readonly done: boolean;
  /** First position whose distribution is still wanted: no more than this may be taken from a cache. */
  readonly firstWanted: number;
}

/** State shared by the sequences of one job. */
export interface SequenceJob {
  readonly payer: string;
  /** Identifies the adapters for fairness: equal for requests that use the same ones. */
  readonly adapterKey: string;
  /** Order of submission. */
  readonly arrival: number;
}

/** One row of steps: tokens, their cache, and what they are for. */
export class Sequence<J extends SequenceJob = SequenceJob> {
  readonly job: J;
  readonly work: SequenceWork;
  /** The sequence whose beginning this one shares, and how much of it. */
  readonly fork: { readonly from: Sequence<J>; readonly length: number } | undefined;
  readonly inputTokens: number;
  private readonly buffer: Int32Array;
  private used: number;
  /** Set while the sequence has memory. */
  cache: SequenceCache | undefined;
  /** Set from the first admission to the end, preemptions included. */
  slots: readonly number[] | undefined;
  adapters: readonly RowAdapter[] = [];
  /** Whether the shared beginning was taken over, or never will be. */
  forkDone = false;
  /** Sequences that still have to take over this one's beginning. */
  pendingForks = 0;
  /** Keys of the whole blocks of the input, under the adapters' contents that `root` stands for. */
  prefix: { readonly root: string; readonly keys: readonly string[] } | undefined;
  state: "waiting" | "running" | "preempted" | "ended" = "waiting";
  /** How often others were admitted past it while it waited for slots. */
  passedOver = 0;
  /** Admissions that the scheduler had made when this one came. */
  admissionsBefore = 0;

  /**
   * @param input tokens to begin with
   * @param capacity longest length it can reach, in tokens
   */
  constructor(
    job: J,
    work: SequenceWork,
    input: Int32Array,
    capacity: number,
    fork?: { from: Sequence<J>; length: number },
  ) {
    this.job = job;
    this.work = work;
    this.fork = fork;
    this.inputTokens = input.length;
    this.buffer = new Int32Array(Math.max(capacity, input.length));
    this.buffer.set(input);
    this.used = input.length;
    if (fork !== undefined) fork.from.pendingForks++;
  }

  get length(): number {
    return this.used;
  }

  get tokens(): Int32Array {
    return this.buffer.subarray(0, this.used);
  }

  /** Tokens whose keys and values are still to be computed. */
  get remaining(): number {
    return this.used - (this.cache?.computed ?? 0);
  }

  append(token: number): void {
    this.buffer[this.used++] = token;
  }
}
