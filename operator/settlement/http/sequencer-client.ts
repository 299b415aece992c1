import { setTimeout as sleep } from "node:timers/promises";
import { AdmissionError, JobError, JournalError, SequencerUnreachable, SettlementError } from "../errors.ts";
import type { AdmittedJob, ChannelStatement, JobRecord, ReceiptRecord, Sequencer } from "../sequencer.ts";
import { decodeWire, encodeWire } from "./wire.ts";

export interface SequencerClientOptions {
  url: string;
  secret: string;
  /** Milliseconds that one attempt may take. Default 30,000. */
  timeout?: number;
  /** Attempts before a call is given up as unknown. Default 4, with pauses that double from 100 ms. */
  attempts?: number;
}

const ERRORS: Record<string, typeof SettlementError> = {
  admission: AdmissionError,
  job: JobError,
  journal: JournalError,
};

/**
 * The sequencer of another machine, with the same answers and errors as in its own process. A call whose answer is lost
 * is made again: the sequencer does nothing twice.
 *
 * @throws {SequencerUnreachable} From every method, when no attempt was answered.
 */
export function connectSequencer(options: SequencerClientOptions): Sequencer {
  const call = async <T>(method: string, given: unknown): Promise<T> => {
    const { attempts = 4 } = options;
    let lost: unknown;
    for (let attempt = 0; attempt < attempts; attempt++) {
      if (attempt > 0) await sleep(50 * 2 ** attempt);
      try {
        const response = await post(options, method, given);
        const { result } = await read<{ result: T }>(response);
        return result;
      } catch (error) {
        if (error instanceof SettlementError && error.code !== "internal") throw error;
        lost = error;
      }
    }
    const message = `The sequencer at ${options.url} did not answer ${attempts} attempts.`;
    throw new SequencerUnreachable(message, { cause: lost });
  };
  return {
    admit: (paid) => call<AdmittedJob>("admit", paid),
    complete: (jobId, outcome) => call<ReceiptRecord>("complete", { jobId, outcome }),
    fail: (jobId, reason) => call<void>("fail", { jobId, reason }),
    job: (jobId) => call<JobRecord | undefined>("job", { jobId }),
    channel: (channel, since) => call<ChannelStatement>("channel", { channel, since }),
    unfinished: () => unfinished(options),
  };
}

async function* unfinished(options: SequencerClientOptions): AsyncGenerator<JobRecord> {
  try {
    // As long as the list takes: its length is not known.
    const { body } = await post({ ...options, timeout: 0 }, "unfinished", {});
    let rest = "";
    for await (const text of body!.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + text).split("\n");
      rest = lines.pop()!;
      for (const line of lines) yield decodeWire(line) as JobRecord;
    }
  } catch (error) {
    if (error instanceof SettlementError) throw error;
    throw new SequencerUnreachable(`The list of the sequencer at ${options.url} broke off.`, { cause: error });
  }
}

/** @throws {SettlementError} What the sequencer threw; whatever `fetch` throws. */
async function post({ url, secret, timeout = 30_000 }: SequencerClientOptions, method: string, given: unknown) {
  const response = await fetch(`${url}/sequencer/${method}`, {
    method: "POST",
    headers: { authorization: `Bearer ${secret}`, "content-type": "application/json" },
    body: encodeWire(given),
    signal: timeout > 0 ? AbortSignal.timeout(timeout) : null,
  });
  if (response.ok) return response;
  const { error } = await read<{ error: ErrorOnWire }>(response);
  throw new (ERRORS[error.kind] ?? SettlementError)(error.code, error.message, error.details);
}

/** What a proxy on the way says in the sequencer's place counts as no answer. */
async function read<T>(response: Response): Promise<T> {
  const text = await response.text();
  try {
    return decodeWire(text) as T;
  } catch (cause) {
    throw new Error(`The answer (status ${response.status}) is not the sequencer's.`, { cause });
  }
}

interface ErrorOnWire {
  kind: string;
  code: string;
  message: string;
  details: Record<string, string>;
}
