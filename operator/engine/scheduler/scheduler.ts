import type { AdapterStore } from "../adapters/adapter-store.ts";
import { EngineError } from "../engine-error.ts";
import { BlockPool } from "../kv/block-pool.ts";
import type { ModelRunner, StepOutput, StepRow } from "../runtime/model-runner.ts";
import { ActiveJob } from "./active-job.ts";
import { Admission } from "./admission.ts";
import type { Vocabulary } from "./generation.ts";
import type { Job } from "./job.ts";
import { PrefillShape } from "./prefill-shape.ts";
import { SchedulerStatistics } from "./scheduler-statistics.ts";
import type { Sequence } from "./sequence.ts";
import { WaitingQueue } from "./waiting-queue.ts";

type JobSequence = Sequence<ActiveJob>;

/** What a generated token costs in the fairness counters, an input token costing 1 (Sheng et al. 2024, section 5). */
const OUTPUT_COST = 2;
/** How many waiting lines have their adapters read ahead. */
const READ_AHEAD = 16;
/** Steps between two looks at the whole queue. */
const READ_AHEAD_EVERY = 4;

/**
 * `computed`: call again. `idle`: nothing can be done before a job comes or an adapter is there. `blocked`: something
 * runs and waits for a moment, for a grammar's mask for instance.
 */
type StepResult = "computed" | "idle" | "blocked";

export interface SchedulerOptions {
  readonly runner: ModelRunner;
  readonly store: AdapterStore;
  readonly vocabulary: Vocabulary;
  /** Sequences in one step at most. */
  readonly maxBatch: number;
  /** Tokens of input computed in one step at most. */
  readonly prefillTokens: number;
  /** Sequences that may wait. */
  readonly maxQueue: number;
  /** Milliseconds from any fixed point. */
  readonly now: () => number;
}

/**
 * Continuous batching: every step computes either one token of all sequences that generate, or chunks of the inputs of
 * those that do not yet; the two kinds alternate while both wait. Sequences come and go between steps.
 */
export class Scheduler {
  readonly statistics = new SchedulerStatistics();
  private readonly options: SchedulerOptions;
  private readonly queue: WaitingQueue<ActiveJob>;
  private readonly admission: Admission;
  private readonly pool: BlockPool;
  private readonly active = new Map<Job, ActiveJob>();
  private readonly maxTokens: number;
  private arrivals = 0;
  private steps = 0;
  /** Somebody came since the queue was last looked at for adapters to read. */
  private arrived = false;
  private prefillNext = true;
  private draining = false;
  private drained: (() => void)[] = [];

  constructor(options: SchedulerOptions) {
    this.options = options;
    const { runner, store, maxBatch, maxQueue, now } = options;
    const { blocks, blockSize, slots, maxPositions } = runner.limits;
    const { sparse } = runner;
    this.pool = new BlockPool(blocks);
    this.maxTokens = Math.min(maxPositions, blocks * blockSize);
    this.queue = new WaitingQueue(maxQueue);
    this.admission = new Admission(this.queue, {
      store,
      cache: { pool: this.pool, blockSize, copyBlock: (from, to) => runner.copyBlock(from, to), sparse },
      maxBatch,
      maxPasses: 4 * slots,
      fail: (job, error) => this.fail(job, error),
      admitted: (sequence, cached) => {
        this.statistics.prefixQueries += sequence.inputTokens;
        this.statistics.prefixHits += cached;
        this.admitted(sequence.job, cached, now());
      },
    });
  }

  /** Longest sequence in tokens: what the model's positions and the pool of blocks allow. */
  get maxSequenceTokens(): number {
    return this.maxTokens;
  }

  /** Nothing runs and nothing waits. */
  get idle(): boolean {
    return this.active.size === 0;
  }

  /**
   * Accepts a job or refuses it at once.
   *
   * @throws EngineError `draining`, `overloaded`, `context_too_long`, `invalid_request`
   */
  submit(job: Job): void {
    if (this.draining) throw new EngineError("draining", "the engine is being shut down and takes nothing new");
    const { maxQueue, vocabulary, store, now } = this.options;
    const sequences = job.kind === "generate" ? job.choices : job.contexts.length;
    if (sequences > maxQueue) {
      throw new EngineError("invalid_request", `${sequences} sequences in one request; the queue holds ${maxQueue}`);
    }
    const { maxBlend } = store;
    if (job.adapters.length > maxBlend) {
      throw new EngineError("invalid_request", `a blend of ${job.adapters.length} adapters; ${maxBlend} can be held`);
    }
    if (this.queue.size + sequences > maxQueue) {
      this.statistics.refused++;
      throw new EngineError("overloaded", `${this.queue.size} sequences wait already, ${maxQueue} may`, {
        waiting: this.queue.size,
        limit: maxQueue,
      });
    }
    const active = new ActiveJob(job, this.arrivals++, now(), { maxTokens: this.maxTokens }, vocabulary);
    this.active.set(job, active);
    for (const sequence of active.sequences) this.queue.push(sequence);
    this.arrived = true;
  }

  /** Ends a job without an answer. Does nothing if it has ended. */
  cancel(job: Job, error: EngineError): void {
    const active = this.active.get(job);
    if (active !== undefined) this.fail(active, error);
  }

  /** Ends everything without an answer. */
  cancelAll(error: EngineError): void {
    for (const active of [...this.active.values()]) this.fail(active, error);
  }

  /** Takes nothing new; resolves when everything accepted has ended. */
  drain(): Promise<void> {
    this.draining = true;
    return this.idle ? Promise.resolve() : new Promise((resolve) => this.drained.push(resolve));
  }

  /** Admits who can be and computes one step. */
  async step(): Promise<StepResult> {
    this.failBroken();
    this.admission.admit();
    if (this.arrived || this.steps++ % READ_AHEAD_EVERY === 0 || this.admission.running.length === 0) this.readAhead();
    const chosen = this.choose();
    const { running, preempted } = this.admission;
    if (chosen.length === 0) return running.length + preempted.length > 0 ? "blocked" : "idle";
    const prefill = this.prefillNext;
    const rows = chosen.map(({ sequence, to }) => rowOf(sequence, to));
    const started = this.options.now();
    let output: StepOutput;
    try {
      output = await this.options.runner.step(rows);
    } catch (error) {
      // Which row is at fault is unknown; all of them are answered, and the next step starts clean.
      const failure = EngineError.from(error);
      for (const { sequence } of chosen) this.fail(sequence.job, failure);
      return "computed";
    }
    const now = this.options.now();
    this.statistics.stepped(prefill, (now - started) / 1000);
    for (const [i, { sequence, to }] of chosen.entries()) {
      if (sequence.state === "running") this.take(sequence, to, output, i, now);
    }
    return "computed";
  }

  /** Numbers of the moment, for metrics. */
  gauges() {
    const adapters = (sequences: Iterable<JobSequence>) => {
      const ids = new Set<string>();
      for (const { job } of sequences) for (const { ticket } of job.adapters) ids.add(ticket.id);
      return [...ids];
    };
    const { running, preempted } = this.admission;
    const waiting = this.queue.lines().flatMap((line) => line.sequences);
    return {
      running: running.length,
      waiting: waiting.length + preempted.length,
      blocks: this.pool.counts,
      runningAdapters: adapters(running),
      waitingAdapters: adapters([...waiting, ...preempted]),
    };
  }

  /** Ends jobs whose grammar turned out not to work while they ran. */
  private failBroken(): void {
    for (const { job, work } of [...this.admission.running]) if (work.error !== undefined) this.fail(job, work.error);
  }

  private readAhead(): void {
    this.arrived = false;
    if (this.queue.size === 0) return;
    const heads = this.queue.lines().slice(0, READ_AHEAD);
    this.options.store.want(heads.map(({ sequences }) => sequences[0].job.adapters.map(({ ticket }) => ticket)));
  }

  /** The rows of the next step and how far each is computed by it. Takes memory from the youngest where it must. */
  private choose(): { sequence: JobSequence; to: number }[] {
    const { running } = this.admission;
    const inputs = running.some((sequence) => sequence.remaining > 1);
    const tokens = running.some((sequence) => sequence.remaining === 1);
    this.prefillNext = inputs && (!tokens || !this.prefillNext);
    const chosen = this.prefillNext ? [] : this.chooseTokens();
    if (chosen.length > 0) return chosen;
    // Also where all that generated lost their memory to older inputs.
    this.prefillNext = true;
    return this.chooseInputs();
  }

  private chooseInputs(): { sequence: JobSequence; to: number }[] {
    let budget = this.options.prefillTokens;
    const chosen: { sequence: JobSequence; to: number }[] = [];
    const shape = new PrefillShape();
    for (const sequence of this.admission.running) {
      if (budget === 0) break;
      // The last position is left for later where its distribution cannot be taken yet.
      const count = Math.min(budget, sequence.remaining - (sequence.work.ready ? 0 : 1));
      if (sequence.remaining <= 1 || count === 0) continue;
      const past = sequence.cache!.computed;
      if (!shape.accepts({ adapters: sequence.adapters, count, past })) continue;
      budget -= count;
      chosen.push({ sequence, to: past + count });
    }
    return this.withRoom(chosen);
  }

  private chooseTokens(): { sequence: JobSequence; to: number }[] {
    const oldestFirst = this.admission.running
      .filter((sequence) => sequence.remaining === 1 && sequence.work.ready)
      .sort((a, b) => a.job.arrival - b.job.arrival);
    return this.withRoom(oldestFirst.map((sequence) => ({ sequence, to: sequence.length })));
  }

  /** Makes room for every row, the first ones taking it from the youngest where there is none. */
  private withRoom(rows: { sequence: JobSequence; to: number }[]): { sequence: JobSequence; to: number }[] {
    for (const { sequence, to } of rows) {
      while (sequence.state === "running" && !sequence.cache!.grow(to)) this.freeMemory();
    }
    // Whoever lost its memory meanwhile is no longer running.
    return rows.filter(({ sequence }) => sequence.state === "running");
  }

  private freeMemory(): void {
    if (this.admission.dropHeld()) return;
    let youngest = this.admission.running[0];
    for (const sequence of this.admission.running)
      if (sequence.job.arrival >= youngest.job.arrival) youngest = sequence;
    this.admission.preempt(youngest);
    youngest.job.preemptions++;
    this.statistics.preemptions++;
  }

  private take(sequence: JobSequence, to: number, output: StepOutput, row: number, now: number): void {
    const { job, work, cache } = sequence;
    if (!output.finite[row]) {
      const adapters = job.adapters.map(({ ticket }) => ticket.id).join(", ");
      const code = adapters === "" ? "failed" : "adapter_failed";
      this.fail(job, new EngineError(code, `numbers overflowed${adapters === "" ? "" : ` with adapter ${adapters}`}`));
      return;
    }
    cache!.advance(sequence.tokens, to);
    // A fork may begin long before where this sequence is by now.
    if (sequence.pendingForks === 0) this.statistics.blocksGivenBack += cache!.giveBackUnattended();
    if (to >= sequence.inputTokens) this.admission.inputComputed(sequence);
    let next: number | undefined;
    const wanted = output.logits[row].length > 0 || output.logprobs[row].length > 0;
    try {
      next = wanted ? work.take(output.logits[row], output.logprobs[row], output.normalisers[row]) : undefined;
    } catch (error) {
      this.fail(job, EngineError.from(error));
      return;
    }
    if (wanted && job.job.kind === "generate") this.countToken(job, now);
    if (next !== undefined) sequence.append(next);
    if (!work.done) return;
    this.admission.end(sequence);
    if (job.sequences.every((other) => other.work.done)) this.finish(job, now);
  }

  private countToken(job: ActiveJob, now: number): void {
    this.queue.charge(job, OUTPUT_COST);
    this.statistics.generated(job, now);
    job.firstTokenAt ??= now;
    job.lastTokenAt = now;
  }

  private admitted(job: ActiveJob, cached: number, now: number): void {
    if (job.job.kind === "score") job.cachedTokens += cached;
    if (job.admittedAt !== undefined) return;
    job.admittedAt = now;
    this.statistics.promptTokens += job.promptTokens;
    if (job.job.kind !== "generate") return;
    job.cachedTokens = cached;
    const { prompt, sampling, adapters } = job.job;
    job.job.emit({
      type: "start",
      promptTokenIds: [...prompt],
      adapters: adapters.map(({ ticket, weight }) => ({ id: ticket.id, weight, hash: ticket.hash })),
      seed: sampling.seed,
    });
  }

  private finish(active: ActiveJob, now: number): void {
    this.remove(active);
    this.statistics.finished(active, now);
    const { promptTokens, cachedTokens, completionTokens } = active;
    const usage = { promptTokens, cachedTokens, completionTokens };
    const { job } = active;
    if (job.kind === "generate") {
      job.emit({ type: "done", usage, timings: active.timings(now) });
      return;
    }
    const scores = active.scores().map((tokenLogprobs, i) => ({
      logprob: tokenLogprobs.reduce((sum, logprob) => sum + logprob, 0),
      tokenLogprobs,
      contextTokens: job.contexts[i].length,
    }));
    job.done({ continuationTokenIds: [...job.continuation], scores, usage });
  }

  private fail(active: ActiveJob, error: EngineError): void {
    if (active.ended) return;
    for (const sequence of active.sequences) if (sequence.state !== "ended") this.admission.end(sequence);
    this.remove(active);
    this.statistics.failed(error.code);
    active.job.fail(error);
  }

  private remove(active: ActiveJob): void {
    active.ended = true;
    this.active.delete(active.job);
    for (const { ticket } of active.adapters) this.options.store.end(ticket);
    if (active.job.kind === "generate") for (const grammar of active.job.grammars) grammar.close();
    if (this.idle) for (const resolve of this.drained.splice(0)) resolve();
  }
}

function rowOf(sequence: JobSequence, to: number): StepRow {
  const past = sequence.cache!.computed;
  const tokens = sequence.tokens.slice(past, to);
  const { table } = sequence.cache!;
  return { tokens, past, blocks: table, adapters: sequence.adapters, ...sequence.work.wanted(past, to) };
}
