import type { PaymentPayload } from "@x402/core/types";
import { z } from "zod";
import { fromHex, toHex } from "../../protocol/bytes.ts";
import { SIGNATURE_BYTES } from "../../protocol/signature.ts";
import type { Voucher, VoucherDomain } from "../../protocol/voucher.ts";
import type { PaidRequest } from "../../settlement/sequencer.ts";
import { PaymentError } from "../payment-error.ts";
import type { Quote } from "../quote.ts";
import { requirementsOf } from "./payment-required.ts";
import {
  amount,
  decodeHeader,
  encodeHeader,
  hexBytes,
  networkOf,
  PAYMENT_HEADERS,
  readWire,
  u32,
  VOUCHER_SCHEME,
  X402_VERSION,
} from "./wire.ts";

/** What a payer sends: all of a paid request but the request itself. */
export type SignedPayment = Omit<PaidRequest, "request">;

const u64 = amount.refine((value) => value < 1n << 64n, "is too large");

const scheme = z.strictObject({
  voucher: z.strictObject({
    channel: u32,
    nonce: u64,
    agent: u32,
    version: u32,
    requestHash: hexBytes(32),
    maxPrice: amount,
    cap: amount,
    expiry: u64,
  }),
  signature: hexBytes(SIGNATURE_BYTES),
  salt: hexBytes(32),
});

const payload = z.object({
  x402Version: z.literal(X402_VERSION),
  accepted: z.object({ scheme: z.string().max(100), network: z.string().max(100), payTo: z.string().max(100) }),
  payload: z.unknown(),
});

/** A voucher in the form of x402's scheme payload. */
export function schemePayload({ voucher, signature, salt }: SignedPayment): Record<string, unknown> {
  return {
    voucher: {
      channel: voucher.channel,
      nonce: String(voucher.nonce),
      agent: voucher.agent,
      version: voucher.version,
      requestHash: toHex(voucher.requestHash),
      maxPrice: String(voucher.maxPrice),
      cap: String(voucher.cap),
      expiry: String(voucher.expiry),
    },
    signature,
    salt,
  };
}

/**
 * Reads a voucher from x402's payload. What the voucher says is judged by the sequencer.
 *
 * @throws {PaymentError} `malformed`; `unknownTerms` when it is of another scheme, chain or contract.
 */
export function signedPaymentOf(given: unknown, domain: VoucherDomain): SignedPayment {
  return ofDomain(readWire(PAYMENT_HEADERS.signature, given, payload), domain);
}

/** The value of `PAYMENT-SIGNATURE`. The quote is repeated as x402 asks, without the channel's statement. */
export function encodePaymentSignature(payment: SignedPayment, quote: Quote): string {
  const { statement: _, ...accepted } = quote;
  const value: PaymentPayload = {
    x402Version: X402_VERSION,
    accepted: requirementsOf({ ...accepted, maxPrice: payment.voucher.maxPrice }),
    payload: schemePayload(payment),
  };
  return encodeHeader(value);
}

/**
 * Reads `PAYMENT-SIGNATURE`. What the voucher says is judged by the sequencer.
 *
 * @throws {PaymentError} `malformed`; `unknownTerms` when it is of another scheme, chain or contract.
 */
export function decodePaymentSignature(text: string, domain: VoucherDomain): SignedPayment {
  return ofDomain(decodeHeader(PAYMENT_HEADERS.signature, text, payload), domain);
}

function ofDomain(read: z.output<typeof payload>, domain: VoucherDomain): SignedPayment {
  const { accepted } = read;
  const network = networkOf(domain.chainId);
  const isOurs = accepted.scheme === VOUCHER_SCHEME && accepted.network === network;
  if (!isOurs || accepted.payTo.toLowerCase() !== domain.verifyingContract.toLowerCase()) {
    const message = `Payments here are vouchers for ${domain.verifyingContract} on ${network}.`;
    throw new PaymentError("unknownTerms", message, { scheme: accepted.scheme, network: accepted.network });
  }
  const { voucher: fields, signature, salt } = readWire(PAYMENT_HEADERS.signature, read.payload, scheme);
  const voucher: Voucher = { ...fields, requestHash: fromHex(fields.requestHash) };
  return { voucher, signature, salt };
}
