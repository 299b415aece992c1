import { setTimeout as sleep } from "node:timers/promises";
import { type Hex, toHex } from "../protocol/bytes.ts";
import { saltedHash } from "../protocol/salted-hash.ts";
import { type AskedJob, type ServedAnswer, type ServeJob, ServingError } from "../serving/served-job.ts";
import { JobError, JournalError, SequencerUnreachable } from "../settlement/errors.ts";
import type { JobRecord, Outcome, Sequencer } from "../settlement/sequencer.ts";
import type { EventWriter } from "./event-writer.ts";
import type { JobEvent } from "./job-events.ts";

/** How a request's bytes are read and an answer's are made. */
export interface Codec {
  /** @throws {ServingError} `invalidRequest` */
  decode: (job: JobRecord) => AskedJob;
  encode: (job: JobRecord, answer: ServedAnswer) => Uint8Array;
}

/** `known`: it had ended before. */
export type AttemptEnd = "completed" | "failed" | "known";

export interface Reason {
  code: string;
  message: string;
}

export const CANCELLED: Reason = { code: "cancelled", message: "The client has left." };
export const EXPIRED: Reason = { code: "expired", message: "The voucher ran out before the job was served." };

/** One attempt of one worker at one job, from the journal's record to the receipt. */
export class Attempt {
  readonly #given: Codec & { sequencer: Sequencer; serve: ServeJob };
  readonly #jobId: Hex;
  readonly #writer: EventWriter;
  readonly #clock: () => number;
  readonly #controller = new AbortController();
  #isAbandoned = false;

  constructor(
    given: Codec & { sequencer: Sequencer; serve: ServeJob },
    jobId: Hex,
    writer: EventWriter,
    clock: () => number,
  ) {
    this.#given = given;
    this.#jobId = jobId;
    this.#writer = writer;
    this.#clock = clock;
  }

  get isAbandoned(): boolean {
    return this.#isAbandoned;
  }

  /** The client has left. */
  cancel(): void {
    this.#controller.abort();
  }

  /** This worker closes: what it makes of the job is not used. */
  abandon(): void {
    this.#isAbandoned = true;
    this.#controller.abort();
  }

  /**
   * @throws {SequencerUnreachable} Whether the job was charged is unknown.
   * @throws Whatever may go better another time.
   */
  async run(): Promise<AttemptEnd> {
    const { sequencer, decode } = this.#given;
    const job = await sequencer.job(this.#jobId);
    if (job?.state !== "accepted") {
      await this.#writer.end(endOf(job));
      return "known";
    }
    if (job.voucher.expiry <= BigInt(this.#clock())) return this.#giveUp(EXPIRED);
    // Before anything was generated: there is nothing to charge.
    if (this.#controller.signal.aborted) return this.#giveUp(CANCELLED);
    try {
      const answer = await this.#serve(decode(job));
      this.#checkAbandoned();
      return await this.#charge(job, answer);
    } catch (error) {
      this.#checkAbandoned();
      if (error instanceof ServingError) return this.#giveUp(error);
      if (!(error instanceof JobError && error.code === "jobFailed")) throw error;
      // Somebody gave it up meanwhile.
      await this.#writer.end(endOf(await sequencer.job(this.#jobId)));
      return "known";
    }
  }

  async #serve(asked: AskedJob): Promise<ServedAnswer> {
    const { signal } = this.#controller;
    try {
      return await this.#given.serve(asked, (piece) => this.#isAbandoned || this.#writer.add(piece), signal);
    } catch (error) {
      if (error instanceof ServingError || !signal.aborted) throw error;
      throw new ServingError(CANCELLED.code, CANCELLED.message, { cause: error });
    }
  }

  /** Charges first and tells afterwards: what a client is told to be complete is in the journal. */
  async #charge(job: JobRecord, answer: ServedAnswer): Promise<AttemptEnd> {
    const response = this.#given.encode(job, answer);
    const { traceHash, promptTokens, completionTokens, context, training, tools, trace } = answer;
    const responseHash = toHex(saltedHash(job.salt, response));
    const tokens = { promptTokens, completionTokens };
    await this.#complete(job, { responseHash, traceHash, ...tokens, context, training, tools, response, trace });
    await this.#writer.end({ type: "completed" });
    return "completed";
  }

  /** An answer was work: it is kept here and offered again until the sequencer is back or its voucher has run out. */
  async #complete(job: JobRecord, outcome: Outcome): Promise<void> {
    for (let pause = 100; ; pause = Math.min(2 * pause, 2_000)) {
      try {
        await this.#given.sequencer.complete(this.#jobId, outcome);
        return;
      } catch (error) {
        const mayPass = error instanceof SequencerUnreachable || error instanceof JournalError;
        if (!mayPass || this.#isAbandoned || job.voucher.expiry <= BigInt(this.#clock())) throw error;
        await sleep(pause);
      }
    }
  }

  async #giveUp(reason: Reason): Promise<AttemptEnd> {
    await giveUp(this.#given.sequencer, this.#jobId, this.#writer, reason);
    return "failed";
  }

  #checkAbandoned(): void {
    if (this.#isAbandoned) throw new Error("The worker was closed.");
  }
}

/** Fails a job in the journal, and then says so; where another worker has completed it meanwhile, it says that. */
export async function giveUp(
  sequencer: Sequencer,
  jobId: Hex,
  writer: EventWriter,
  { code, message }: Reason,
): Promise<void> {
  try {
    await sequencer.fail(jobId, `${code}: ${message}`);
  } catch (error) {
    if (!(error instanceof JobError)) throw error;
    await writer.end(endOf(await sequencer.job(jobId)));
    return;
  }
  await writer.end({ type: "failed", code, message });
}

/** How a job ended that is not in flight any more. */
function endOf(job: JobRecord | undefined): JobEvent {
  if (!job) return { type: "failed", code: "unknownJob", message: "The journal has no such job." };
  if (job.state === "completed") return { type: "completed" };
  const [, code = "failed", message = ""] = /^(\w+): (.*)$/s.exec(job.reason ?? "") ?? [];
  return { type: "failed", code, message: message || (job.reason ?? "") };
}
