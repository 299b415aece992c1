import type {
  PaymentPayload,
  PaymentRequirements,
  SchemeNetworkFacilitator,
  SettleResponse,
  VerifyResponse,
} from "@x402/core/types";
import { fromHex, type Hex, sameBytes } from "../../protocol/bytes.ts";
import { saltedHash } from "../../protocol/salted-hash.ts";
import { recoverSigner } from "../../protocol/signature.ts";
import { domainSeparator, type VoucherDomain, voucherDigest } from "../../protocol/voucher.ts";
import { AdmissionError } from "../../settlement/errors.ts";
import type { Sequencer } from "../../settlement/sequencer.ts";
import { PaymentError } from "../payment-error.ts";
import { completedPayment, type PaymentOutcome } from "../quote.ts";
import { quoteOf } from "./payment-required.ts";
import { settleResponse } from "./payment-response.ts";
import { type SignedPayment, signedPaymentOf } from "./payment-signature.ts";
import { networkOf, VOUCHER_SCHEME } from "./wire.ts";

export interface VoucherFacilitatorOptions {
  domain: VoucherDomain;
  /** Whose channels are taken. */
  operator: number;
  sequencer: Pick<Sequencer, "admit" | "job">;
  /** A channel as the chain has it. */
  channelOf(channel: number): { operator: number; sessionKey: Hex } | undefined;
  /** The request that a payment is for, as `requestBytes` gives it; x402 does not carry it. */
  requestOf(payment: SignedPayment): Uint8Array | undefined;
  /** Seconds since 1970. Default: the system's. */
  clock?: () => number;
}

/**
 * This scheme for the facilitator of `@x402/core`. To verify is to judge the voucher by itself: its terms, request,
 * expiry and session key. To settle is to have it admitted, where nonce, cap and deposit are judged as well; the price is
 * charged later, once the answer is made, and is at most the voucher's.
 */
export function voucherFacilitator(options: VoucherFacilitatorOptions): SchemeNetworkFacilitator {
  const { domain, operator, sequencer, clock = () => Math.floor(Date.now() / 1_000) } = options;
  const separator = domainSeparator(domain);
  const network = networkOf(domain.chainId);

  /** @throws {PaymentError} `refused`, with the reason in its details. */
  const judge = (payload: PaymentPayload, requirements: PaymentRequirements) => {
    const payment = signedPaymentOf(payload, domain);
    const { terms, maxPrice, voucherLife } = quoteOf(requirements);
    const { voucher, signature, salt } = payment;
    const request = options.requestOf(payment);
    const channel = options.channelOf(voucher.channel);
    if (voucher.agent !== terms.agent || voucher.version !== terms.version) throw refused("wrongAgent");
    if (voucher.maxPrice < maxPrice) throw refused("priceTooLow");
    if (!request || !sameBytes(saltedHash(fromHex(salt), request), voucher.requestHash))
      throw refused("requestMismatch");
    if (channel?.operator !== operator) throw refused("unknownChannel");
    const digest = voucherDigest(separator, voucher);
    const payer = recoverSigner(digest, fromHex(signature));
    if (payer !== channel.sessionKey.toLowerCase()) throw refused("badSignature");
    return { payment, request, payer, voucherLife };
  };

  /** Not asked of what is settled: a job that was admitted in time is the same job later. */
  const judgeExpiry = ({ voucher }: SignedPayment, voucherLife: number) => {
    const now = BigInt(clock());
    if (voucher.expiry <= now) throw refused("expired");
    if (voucher.expiry > now + BigInt(voucherLife)) throw refused("expiryTooFar");
  };

  const settled = async (jobId: Hex): Promise<PaymentOutcome> => {
    const job = await sequencer.job(jobId);
    if (job?.receipt) return completedPayment(job.receipt);
    if (job?.state === "failed") return { state: "failed", jobId, reason: job.reason ?? "no reason given" };
    return { state: "accepted", jobId };
  };

  return {
    scheme: VOUCHER_SCHEME,
    caipFamily: "eip155:*",
    getExtra: () => undefined,
    // Whoever collects, collects for the operator: no address of its own is paid.
    getSigners: () => [],
    async verify(payload, requirements): Promise<VerifyResponse> {
      try {
        const { payment, payer, voucherLife } = judge(payload, requirements);
        judgeExpiry(payment, voucherLife);
        return { isValid: true, payer };
      } catch (error) {
        return { isValid: false, ...reasonOf(error, "invalidReason", "invalidMessage") };
      }
    },
    async settle(payload, requirements): Promise<SettleResponse> {
      try {
        const { payment, request, payer } = judge(payload, requirements);
        const { jobId } = await sequencer.admit({ ...payment, request });
        return { ...settleResponse(await settled(jobId), domain.chainId), payer };
      } catch (error) {
        return { success: false, transaction: "", network, ...reasonOf(error, "errorReason", "errorMessage") };
      }
    },
  };
}

function refused(reason: string): PaymentError {
  return new PaymentError("refused", `The voucher is refused: ${reason}.`, { reason });
}

/** What a refusal is called; anything else is no answer about the payment and goes on. */
function reasonOf<R extends string, M extends string>(error: unknown, reason: R, message: M): Record<R | M, string> {
  if (!(error instanceof PaymentError || error instanceof AdmissionError)) throw error;
  const code = error.code === "refused" ? error.details.reason : error.code;
  return { [reason]: code, [message]: error.message } as Record<R | M, string>;
}
