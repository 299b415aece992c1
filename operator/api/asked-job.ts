import { type AskedJob, ServingError } from "../serving/served-job.ts";
import type { JobRecord } from "../settlement/sequencer.ts";
import { type InferenceRequest, readInferenceRequest } from "./inference-request.ts";
import { InvalidRequest } from "./invalid-request.ts";

/**
 * The request behind a job, read from the bytes that the voucher stands for.
 *
 * @param request See `operator/payments/request-bytes.ts`.
 * @throws {InvalidRequest} When a gateway let something through that cannot be answered.
 */
export function requestOf(request: Uint8Array): InferenceRequest {
  let given: { path?: unknown; body?: unknown } | null;
  try {
    given = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(request));
  } catch {
    throw new InvalidRequest("The request is no JSON.", null);
  }
  return readInferenceRequest(String(given?.path), given?.body);
}

/**
 * A job as a worker serves it.
 *
 * @throws {ServingError} `invalidRequest` when its request cannot be answered.
 */
export function askedJobOf(job: Pick<JobRecord, "jobId" | "voucher" | "request">): AskedJob {
  const { channel, agent, version, maxPrice } = job.voucher;
  try {
    return { jobId: job.jobId, agent, version, payer: String(channel), maxPrice, ...requestOf(job.request).asked };
  } catch (error) {
    if (!(error instanceof InvalidRequest)) throw error;
    throw new ServingError("invalidRequest", error.message, { cause: error });
  }
}
