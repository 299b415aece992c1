import type { PaymentPayloadContext, PaymentPayloadResult, SchemeNetworkClient } from "@x402/core/types";
import type { PayerLedger } from "../payer/payer-ledger.ts";
import { PaymentError } from "../payment-error.ts";
import { quoteOf } from "./payment-required.ts";
import { decodePaymentSignature, schemePayload } from "./payment-signature.ts";
import { VOUCHER_SCHEME } from "./wire.ts";

export interface VoucherClientOptions {
  ledger: PayerLedger;
  /** The request that will be paid, as `requestBytes` gives it: a voucher is for one request. */
  request: Uint8Array;
  /** Wei of OPEN that the request may cost at most, beside what the client's spend controls say. */
  maxPrice: bigint;
}

/**
 * This scheme for the client of `@x402/core`, for one request. Its spend controls know no price of OPEN in dollars: allow
 * the asset by `allowedAssets`. `payingFetch` does the same with resends and signing ahead.
 *
 * @example
 * const client = new x402Client().register("eip155:8453", voucherClient({ ledger, request, maxPrice }));
 */
export function voucherClient({ ledger, request, maxPrice }: VoucherClientOptions): SchemeNetworkClient {
  return {
    scheme: VOUCHER_SCHEME,
    async createPaymentPayload(
      x402Version: number,
      requirements: unknown,
      context?: PaymentPayloadContext,
    ): Promise<PaymentPayloadResult> {
      const quote = quoteOf(requirements);
      const { chainId, verifyingContract } = ledger.domain;
      const { domain } = quote;
      if (domain.chainId !== chainId || domain.verifyingContract !== verifyingContract.toLowerCase()) {
        const message = `The channel is in ${verifyingContract} on chain ${chainId}, not in ${domain.verifyingContract}.`;
        throw new PaymentError("unknownTerms", message);
      }
      const limits = [maxPrice, ...(context?.maxAmountPerPayment ? [BigInt(context.maxAmountPerPayment)] : [])];
      for (const limit of limits) {
        if (quote.maxPrice <= limit) continue;
        const details = { price: String(quote.maxPrice), limit: String(limit) };
        const message = `The request may cost ${quote.maxPrice} wei of OPEN; the limit is ${limit}.`;
        throw new PaymentError("priceAboveLimit", message, details);
      }
      if (quote.statement) ledger.takeStatement(quote.statement);
      const { header } = ledger.reserve(quote, request);
      return { x402Version, payload: schemePayload(decodePaymentSignature(header, ledger.domain)) };
    },
  };
}
