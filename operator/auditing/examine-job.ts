import { otherFunction } from "../attribution/verify-trace.ts";
import type { Engine } from "../engine/engine.ts";
import type { JobVerdict } from "../payments/payer/paid-jobs.ts";
import { fromHex, type Hex, sameBytes, toHex } from "../protocol/bytes.ts";
import { MalformedBytes } from "../protocol/errors.ts";
import { decodeReceipt, type Receipt } from "../protocol/receipt.ts";
import { voucherDigest } from "../protocol/voucher.ts";
import { type JobEvidence, type JobReport, type VerifyJobOptions, verifyJob } from "../serving/verify-job.ts";
import { type Inclusion, judgeInclusion } from "./inclusion.ts";
import { tracedFunction } from "./traced-engine.ts";

/** A job with all that is there to judge it by. */
export interface ExaminedJob extends JobEvidence {
  jobId: Hex;
  /** Where its receipt stands on the chain, or why that is not known. */
  place: Inclusion | { missing: string };
}

export interface Examination extends Omit<JobReport, "ok"> {
  verdict: JobVerdict;
}

export interface ExamineOptions extends VerifyJobOptions {
  /** Domain separator of the vouchers. */
  separator: Uint8Array;
}

/**
 * Does a job again from what is there of it, and looks up where its receipt stands: `verify job`, and what a watcher does
 * by itself.
 *
 * `misattributed` is what contradicts the chain, the registries or the model; `unchecked` what lacked something to be
 * judged by, the influence of training data excepted, which only holders of an adapter's sketches can measure. An engine
 * that computes another function than the trace says (attention, rounding of weights) judges no scores.
 *
 * @throws Whatever the engine throws, and faults of this machine.
 */
export async function examineJob(job: ExaminedJob, options: ExamineOptions): Promise<Examination> {
  const { engine, model, ...rest } = options;
  const receipt = readReceipt(job.receipt);
  const other = receipt && engine && (await otherModel(receipt, options));
  const blind = engine && !other && (await functionDiffers(job, engine));
  const report = await verifyJob(job, {
    ...rest,
    ...(engine && model && !other && { model, ...(!blind && { engine }) }),
  });
  const problems = [...report.problems];
  const checked = [...report.checked];
  const unchecked = [...(other ? [other] : []), ...(blind ? [blind] : []), ...report.unchecked];
  if (receipt) {
    // Of another job, everything may be right and nothing of it is this one's.
    const isOfJob = sameBytes(voucherDigest(options.separator, receipt.voucher), fromHex(job.jobId));
    if (!isOfJob) problems.unshift("The receipt is of another job.");
    const posted = judgePlace(job, receipt, options);
    if (posted === "another") problems.unshift("The batch on the chain holds another receipt in its place.");
    else if (posted !== "included") unchecked.unshift(`batch: ${posted}`);
    checked.unshift("job's id", ...(posted === "included" ? ["batch"] : []));
  }
  const lacking = unchecked.filter((what) => !what.startsWith("influence:"));
  const verdict = problems.length > 0 ? "misattributed" : lacking.length > 0 ? "unchecked" : "verified";
  const { largestDifference, sparse, payout } = report;
  return { verdict, problems, checked, unchecked, largestDifference, sparse, payout };
}

function judgePlace({ place, receipt: body }: ExaminedJob, { voucher }: Receipt, { mirror }: ExamineOptions): string {
  if ("missing" in place) return place.missing;
  if (place.header.operator !== mirror.channel(voucher.channel)?.operator) return "another";
  const judged = judgeInclusion(place, body, mirror);
  return judged === "absent" ? "it is not on the chain, or no more" : judged;
}

/** Another model's tokens and scores say nothing about an answer. */
async function otherModel({ voucher }: Receipt, { mirror, engine }: ExamineOptions): Promise<string | undefined> {
  const wanted = mirror.composition(voucher.agent, voucher.version)?.baseModel;
  const { modelHash } = await engine!.info();
  if (!wanted || modelHash === undefined || toHex(wanted) === `0x${modelHash}`) return undefined;
  return `scores: the agent answers with the base model ${toHex(wanted)}, and this one is 0x${modelHash}`;
}

/** Nor do scores of an engine that computes another function of it. */
async function functionDiffers({ trace }: ExaminedJob, engine: Engine): Promise<string | undefined> {
  const difference = otherFunction(await engine.info(), tracedFunction(trace));
  return difference && `scores: ${difference}`;
}

function readReceipt(body: Uint8Array): Receipt | undefined {
  try {
    return decodeReceipt(body);
  } catch (error) {
    if (error instanceof MalformedBytes) return undefined;
    throw error;
  }
}
