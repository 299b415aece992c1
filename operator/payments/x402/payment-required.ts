import type { PaymentRequired, PaymentRequirements } from "@x402/core/types";
import { z } from "zod";
import type { Hex } from "../../protocol/bytes.ts";
import { VOUCHER_DOMAIN_NAME, VOUCHER_DOMAIN_VERSION, type VoucherDomain } from "../../protocol/voucher.ts";
import { PaymentError } from "../payment-error.ts";
import type { Quote, QuotedStatement } from "../quote.ts";
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
  u32,
  VOUCHER_SCHEME,
  X402_VERSION,
} from "./wire.ts";

const statement = z.object({
  channel: u32,
  charged: amount,
  reserved: amount,
  requiredCap: amount,
  receipts: z.array(z.object({ position, charged: amount, body: base64Bytes })).max(256),
  isComplete: z.boolean(),
});

const requirements = z.object({
  scheme: z.literal(VOUCHER_SCHEME),
  network: z.string().regex(/^eip155:[1-9]\d{0,19}$/, "must be eip155 and a chain's id"),
  amount,
  asset: hexBytes(20),
  payTo: hexBytes(20),
  maxTimeoutSeconds: z.int().min(1).max(3_600),
  extra: z.object({
    operator: u32,
    agent: u32,
    version: u32,
    prices: z.object({ job: amount, promptToken: amount, completionToken: amount }),
    domain: z.object({
      name: z.literal(VOUCHER_DOMAIN_NAME),
      version: z.literal(VOUCHER_DOMAIN_VERSION),
      chainId: z.int().min(1),
      verifyingContract: hexBytes(20),
    }),
    statement: statement.optional(),
  }),
});

const required = z.object({
  x402Version: z.literal(X402_VERSION),
  error: z.string().max(200).optional(),
  accepts: z.array(z.looseObject({ scheme: z.string().max(100), network: z.string().max(100) })).max(32),
});

/** A quote in the form of x402. */
export function requirementsOf(quote: Quote): PaymentRequirements {
  const { terms, domain, maxPrice, voucherLife } = quote;
  return {
    scheme: VOUCHER_SCHEME,
    network: networkOf(domain.chainId),
    amount: String(maxPrice),
    asset: quote.asset,
    payTo: domain.verifyingContract,
    maxTimeoutSeconds: voucherLife,
    extra: {
      // x402's word for a payment that is taken before the answer is made.
      paymentFlow: "upfront",
      operator: terms.operator,
      agent: terms.agent,
      version: terms.version,
      prices: {
        job: String(terms.pricePerJob),
        promptToken: String(terms.pricePerPromptToken),
        completionToken: String(terms.pricePerCompletionToken),
      },
      domain: {
        name: VOUCHER_DOMAIN_NAME,
        version: VOUCHER_DOMAIN_VERSION,
        chainId: Number(domain.chainId),
        verifyingContract: domain.verifyingContract,
      },
      ...(quote.statement ? { statement: statementOnWire(quote.statement) } : {}),
    },
  };
}

/**
 * Reads a quote from x402's requirements.
 *
 * @throws {PaymentError} `malformed` when a field is missing or wrong.
 */
export function quoteOf(given: unknown): Quote {
  const read = readWire(PAYMENT_HEADERS.required, given, requirements);
  const { operator, agent, version, prices, domain, statement } = read.extra;
  const named = networkOf(BigInt(domain.chainId));
  if (named !== read.network || domain.verifyingContract !== read.payTo) {
    const message = "The terms name one contract to pay and another to sign for.";
    throw new PaymentError("malformed", message, { header: PAYMENT_HEADERS.required });
  }
  return {
    terms: {
      operator,
      agent,
      version,
      pricePerJob: prices.job,
      pricePerPromptToken: prices.promptToken,
      pricePerCompletionToken: prices.completionToken,
    },
    domain: { chainId: BigInt(domain.chainId), verifyingContract: domain.verifyingContract },
    asset: read.asset,
    maxPrice: read.amount,
    voucherLife: read.maxTimeoutSeconds,
    ...(statement ? { statement } : {}),
  };
}

/**
 * The value of `PAYMENT-REQUIRED`.
 *
 * @param error Why a payment that was made is not enough: the code of an `AdmissionError`. Left out on the first answer.
 */
export function encodePaymentRequired(quote: Quote, resource: { url: string; error?: string }): string {
  const { url, error } = resource;
  const value: PaymentRequired = {
    x402Version: X402_VERSION,
    ...(error === undefined ? {} : { error }),
    resource: { url, mimeType: "application/json" },
    accepts: [requirementsOf(quote)],
  };
  return encodeHeader(value);
}

/**
 * Reads `PAYMENT-REQUIRED`: of all that the operator would accept, what this scheme can pay on the payer's chain.
 *
 * @throws {PaymentError} `malformed`; `unknownTerms` when nothing offered is of this scheme, chain and contract.
 */
export function decodePaymentRequired(text: string, domain: VoucherDomain): { quote: Quote; error?: string } {
  const { accepts, error } = decodeHeader(PAYMENT_HEADERS.required, text, required);
  const network = networkOf(domain.chainId);
  const ours = accepts.find((offer) => offer.scheme === VOUCHER_SCHEME && offer.network === network);
  if (!ours) {
    const offered = accepts.map((offer) => `${offer.scheme} on ${offer.network}`).join(", ") || "nothing";
    throw new PaymentError("unknownTerms", `The operator takes ${offered}; this channel is on ${network}.`);
  }
  const quote = quoteOf(ours);
  const contract: Hex = quote.domain.verifyingContract;
  if (contract !== domain.verifyingContract.toLowerCase()) {
    const message = `The operator wants vouchers for ${contract}; this channel is in ${domain.verifyingContract}.`;
    throw new PaymentError("unknownTerms", message, { contract });
  }
  return { quote, ...(error === undefined ? {} : { error }) };
}

function statementOnWire({ receipts, charged, reserved, requiredCap, ...rest }: QuotedStatement) {
  return {
    ...rest,
    charged: String(charged),
    reserved: String(reserved),
    requiredCap: String(requiredCap),
    receipts: receipts.map(({ position, charged, body }) => ({
      position,
      charged: String(charged),
      body: toBase64(body),
    })),
  };
}
