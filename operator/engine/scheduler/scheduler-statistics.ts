import type { EngineErrorCode } from "../engine-error.ts";
import { Histogram, LATENCY_BOUNDS } from "../metrics.ts";
import type { ActiveJob } from "./active-job.ts";

const STEP_BOUNDS = [0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1, 2, 5];

/** What the scheduler counts over its life. Times are in seconds. */
export class SchedulerStatistics {
  promptTokens = 0;
  generationTokens = 0;
  preemptions = 0;
  /** Blocks that running sequences gave back because nothing to come attends to them. */
  blocksGivenBack = 0;
  refused = 0;
  /** Input tokens that were looked for in the cache, and those found. */
  prefixQueries = 0;
  prefixHits = 0;
  readonly ended = new Map<string, number>();
  readonly firstToken = new Histogram(LATENCY_BOUNDS);
  readonly interToken = new Histogram(LATENCY_BOUNDS);
  readonly endToEnd = new Histogram(LATENCY_BOUNDS);
  readonly queueTime = new Histogram(LATENCY_BOUNDS);
  readonly prefillStep = new Histogram(STEP_BOUNDS);
  readonly decodeStep = new Histogram(STEP_BOUNDS);

  stepped(prefill: boolean, seconds: number): void {
    (prefill ? this.prefillStep : this.decodeStep).observe(seconds);
  }

  /** Called before the job's own marks are moved to `now`. */
  generated(job: ActiveJob, now: number): void {
    this.generationTokens++;
    if (job.firstTokenAt === undefined) this.firstToken.observe((now - job.submittedAt) / 1000);
    else if (job.sequences.length === 1) this.interToken.observe((now - job.lastTokenAt!) / 1000);
  }

  finished(job: ActiveJob, now: number): void {
    this.count("finished");
    this.endToEnd.observe((now - job.submittedAt) / 1000);
    this.queueTime.observe(((job.admittedAt ?? now) - job.submittedAt) / 1000);
  }

  failed(code: EngineErrorCode): void {
    this.count(code);
  }

  private count(reason: string): void {
    this.ended.set(reason, (this.ended.get(reason) ?? 0) + 1);
  }
}
