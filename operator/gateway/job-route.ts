import { timingSafeEqual } from "node:crypto";
import { readAnswer } from "../api/answer-bytes.ts";
import { fromHex, type Hex, toHex } from "../protocol/bytes.ts";
import { decodeReceipt, type Receipt } from "../protocol/receipt.ts";
import type { JobRecord, ReceiptRecord } from "../settlement/sequencer.ts";
import { ApiError } from "./api-error.ts";
import { batchBody } from "./batch-routes.ts";
import type { Gateway } from "./gateway.ts";

const decoder = new TextDecoder();

/**
 * All that may be told of a job. State, receipt, attribution and proof are for everybody: they stand in the batch's
 * published data, from which anybody can compute a job's id. Question, answer and trace are for whoever shows the
 * request's salt, which is published nowhere: the payer, and whom the payer gives it to.
 *
 * @param jobId As the client wrote it.
 * @param salt Value of `x-openledger-salt`, if given.
 * @throws {ApiError} 404, or 403 when the salt is another.
 */
export async function jobBody(jobId: string, salt: string | undefined, { desk, options }: Gateway) {
  if (!/^0x[0-9a-fA-F]{64}$/.test(jobId)) {
    throw new ApiError(404, "A job's id is 0x and 64 digits.", { code: "job_not_found" });
  }
  const job = await options.sequencer.job(jobId.toLowerCase() as Hex);
  if (!job) throw new ApiError(404, `There is no job ${jobId} here.`, { code: "job_not_found" });
  if (salt !== undefined && !isSame(salt, job.salt)) {
    throw new ApiError(403, "This is not the salt of the job's request.", { code: "wrong_salt" });
  }
  const { receipts } = desk;
  const proof = job.receipt && (await receipts.proof(job.receipt));
  return {
    id: job.jobId,
    object: "openledger.job" as const,
    state: job.state,
    agent: { id: job.voucher.agent, version: job.voucher.version },
    channel: job.voucher.channel,
    created: job.admittedAt,
    ...(job.reason !== undefined && { reason: job.reason }),
    payment: desk.payment(job),
    ...(job.receipt && { receipt: receiptBody(job.receipt), attribution: receipts.attribution(job.receipt) }),
    ...(proof && { proof: { ...proof, batch: batchBody(proof.batch) } }),
    ...(salt !== undefined && textsOf(job)),
  };
}

/** What only the payer may read, as long as it is kept. */
function textsOf(job: JobRecord) {
  return {
    ...(job.request.length > 0 && { request: JSON.parse(decoder.decode(job.request)) as unknown }),
    ...(job.response && { answer: readAnswer(job.response) }),
    ...(job.trace && { trace: JSON.parse(decoder.decode(job.trace)) as unknown }),
  };
}

/** A receipt in words and as bytes. Amounts are wei of OPEN, decimal. */
export function receiptBody(record: ReceiptRecord) {
  return {
    position: record.position,
    batch: record.batch,
    index: record.index,
    completed: record.completedAt,
    charged: String(record.charged),
    state_root: toHex(record.stateRoot),
    body: toHex(record.body),
    decoded: decodedBody(decodeReceipt(record.body)),
  };
}

function decodedBody({ voucher, ...receipt }: Receipt) {
  return {
    voucher: {
      channel: voucher.channel,
      nonce: String(voucher.nonce),
      agent: voucher.agent,
      version: voucher.version,
      request_hash: toHex(voucher.requestHash),
      max_price: String(voucher.maxPrice),
      cap: String(voucher.cap),
      expiry: Number(voucher.expiry),
      signature: toHex(voucher.signature),
    },
    response_hash: toHex(receipt.responseHash),
    trace_hash: toHex(receipt.traceHash),
    prompt_tokens: receipt.promptTokens,
    completion_tokens: receipt.completionTokens,
    price: String(receipt.price),
    context: receipt.context,
    training: receipt.training,
    tools: receipt.tool,
  };
}

function isSame(given: string, salt: Uint8Array): boolean {
  return /^0x[0-9a-fA-F]{64}$/.test(given) && timingSafeEqual(fromHex(given), salt);
}
