import type { SettleResponse } from "@x402/core/types";
import { z } from "zod";
import type { PaymentOutcome } from "../quote.ts";
import {
  amount,
  base64Bytes,
  decodeHeader,
  encodeHeader,
  hexBytes,
  networkOf,
  PAYMENT_HEADERS,
  position,
  readWire,
  toBase64,
} from "./wire.ts";

const envelope = { transaction: hexBytes(32), network: z.string().max(100) };

const outcome = z.union([
  z
    .object({
      ...envelope,
      success: z.literal(true),
      amount,
      extra: z.object({
        state: z.literal("completed"),
        charged: amount,
        position,
        batch: position,
        index: position,
        receipt: base64Bytes,
      }),
    })
    .transform(({ transaction, amount, extra }): PaymentOutcome => {
      const { charged, position, batch, index, receipt } = extra;
      const charge = { price: amount, charged, position, batch, index, body: receipt };
      return { state: "completed", jobId: transaction, charge };
    }),
  z
    .object({ ...envelope, success: z.literal(true), extra: z.object({ state: z.literal("accepted") }) })
    .transform(({ transaction }): PaymentOutcome => ({ state: "accepted", jobId: transaction })),
  z
    .object({ ...envelope, success: z.literal(false), errorMessage: z.string().max(1_000).default("no reason given") })
    .transform(({ transaction, errorMessage }): PaymentOutcome => {
      return { state: "failed", jobId: transaction, reason: errorMessage };
    }),
]);

/** Characters of a reason that fit a header. */
const MAX_REASON = 1_000;

/**
 * What became of a payment, in the form of x402. It is the value of `PAYMENT-RESPONSE`, and the member `payment` of a
 * stream's final chunk and of `GET /v1/jobs/:id`.
 */
export function settleResponse(outcome: PaymentOutcome, chainId: bigint): SettleResponse {
  const where = { transaction: outcome.jobId, network: networkOf(chainId) };
  if (outcome.state === "failed") {
    const errorMessage = outcome.reason.slice(0, MAX_REASON);
    return { success: false, ...where, errorReason: "jobFailed", errorMessage, extra: { state: "failed" } };
  }
  if (outcome.state === "accepted") return { success: true, ...where, extra: { state: "accepted" } };
  const { price, charged, position, batch, index, body } = outcome.charge;
  return {
    success: true,
    ...where,
    amount: String(price),
    extra: { state: "completed", charged: String(charged), position, batch, index, receipt: toBase64(body) },
  };
}

/** The value of `PAYMENT-RESPONSE`. */
export function encodePaymentResponse(outcome: PaymentOutcome, chainId: bigint): string {
  return encodeHeader(settleResponse(outcome, chainId));
}

/** @throws {PaymentError} `malformed`. */
export function decodePaymentResponse(text: string): PaymentOutcome {
  return decodeHeader(PAYMENT_HEADERS.response, text, outcome);
}

/**
 * Reads the same from a body.
 *
 * @throws {PaymentError} `malformed`.
 */
export function paymentOutcomeOf(given: unknown): PaymentOutcome {
  return readWire("payment", given, outcome);
}
