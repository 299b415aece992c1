import { setTimeout as sleep } from "node:timers/promises";
import type { Hex } from "../protocol/bytes.ts";
import type { JobEvent } from "../queue/job-events.ts";
import type { AnswerPiece } from "../serving/served-job.ts";
import type { JobRecord, Sequencer } from "../settlement/sequencer.ts";
import type { JobStream } from "./gateway-options.ts";

/** What happens to a job while it is followed. */
export type JobNews =
  | { readonly kind: "piece"; readonly piece: AnswerPiece }
  /** Nothing for a while; the job goes on. */
  | { readonly kind: "pulse" }
  /** Completed or failed: the last. */
  | { readonly kind: "ended"; readonly job: JobRecord };

interface FollowOptions {
  queue: Pick<JobStream, "events">;
  sequencer: Pick<Sequencer, "job">;
  /** Milliseconds without news after which the journal is asked, since the queue may have lost what it knew. */
  pulseMs: number;
  signal: AbortSignal;
  /** Called when queue or books did not answer; following goes on. */
  onTrouble?: (error: unknown) => void;
}

/** Milliseconds between attempts when something does not answer. */
const PAUSE = 200;

/**
 * Follows a job to its end. Pieces come in order and each once, however often the job is served; where the queue fails
 * or has lost some, the journal still says how the job ended.
 *
 * @param job As it stands now.
 * @throws The signal's reason when it fires.
 */
export async function* followJob(job: JobRecord, options: FollowOptions): AsyncGenerator<JobNews> {
  const { signal, sequencer, onTrouble } = options;
  const { jobId } = job;
  if (job.state !== "accepted") return yield { kind: "ended", job };
  let next = 0;
  let hasGap = false;
  for (;;) {
    for await (const news of eventsOf(jobId, next, options)) {
      if (news === "pulse") {
        yield { kind: "pulse" };
      } else if (news.type !== "piece") {
        break;
      } else if (news.at >= next) {
        // After a gap nothing more is told: the rest comes with the whole answer.
        hasGap ||= news.at > next;
        next = news.at + 1;
        if (!hasGap) yield { kind: "piece", piece: news };
      }
    }
    signal.throwIfAborted();
    try {
      const job = await sequencer.job(jobId);
      if (job && job.state !== "accepted") return yield { kind: "ended", job };
    } catch (error) {
      onTrouble?.(error);
    }
    await sleep(PAUSE, undefined, { signal });
  }
}

/** The queue's events until the terminal one, until the queue fails, or until the journal knows better. */
async function* eventsOf(jobId: Hex, from: number, options: FollowOptions): AsyncGenerator<JobEvent | "pulse"> {
  const { queue, sequencer, pulseMs, signal, onTrouble } = options;
  const stop = new AbortController();
  const hasEnded = async () => (await sequencer.job(jobId))?.state !== "accepted";
  const events = queue.events(jobId, { from, signal: AbortSignal.any([signal, stop.signal]) })[Symbol.asyncIterator]();
  try {
    for (;;) {
      const next = events.next();
      for (;;) {
        const first = await orPulse(next, pulseMs);
        if (first !== "pulse") {
          if (first.done) return;
          if (first.value.type !== "lost") yield first.value;
          else if (await hasEnded()) return;
          break;
        }
        yield "pulse";
        if (signal.aborted || (await hasEnded())) return;
      }
    }
  } catch (error) {
    if (signal.aborted) throw error;
    onTrouble?.(error);
  } finally {
    stop.abort();
    // Not awaited: it may itself wait for Redis.
    events.return?.().catch(() => undefined);
  }
}

function orPulse<T>(news: Promise<T>, milliseconds: number): Promise<T | "pulse"> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => resolve("pulse"), milliseconds);
    news.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}
