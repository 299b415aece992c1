import { fromHex, sameBytes } from "../protocol/bytes.ts";
import type { Composition } from "../protocol/composition.ts";
import { keccak } from "../protocol/keccak.ts";
import { priceOf } from "../protocol/price.ts";
import type { Receipt } from "../protocol/receipt.ts";
import { saltedHash } from "../protocol/salted-hash.ts";
import type { SignedVoucher } from "../protocol/voucher.ts";
import { JobError } from "./errors.ts";
import type { JobRecord, Outcome } from "./sequencer.ts";

/** The receipt of an answer, with the price that its agent version asks. */
export function receiptOf(outcome: Outcome, voucher: SignedVoucher, composition: Composition): Receipt {
  const { promptTokens, completionTokens, context, training, tools: tool } = outcome;
  return {
    voucher,
    responseHash: fromHex(outcome.responseHash),
    traceHash: fromHex(outcome.traceHash),
    promptTokens,
    completionTokens,
    price: priceOf(composition, { promptTokens, completionTokens }, voucher.maxPrice),
    context,
    training,
    tool,
  };
}

/** @throws {JobError} `hashMismatch` when answer or trace are not what the hashes beside them say. */
export function checkHashes({ jobId, salt }: Pick<JobRecord, "jobId" | "salt">, outcome: Outcome): void {
  const wrong = (what: string) => new JobError("hashMismatch", `The ${what} is not what its hash says.`, { jobId });
  if (!sameBytes(saltedHash(salt, outcome.response), fromHex(outcome.responseHash))) throw wrong("answer");
  if (!sameBytes(keccak(outcome.trace), fromHex(outcome.traceHash))) throw wrong("trace");
}
