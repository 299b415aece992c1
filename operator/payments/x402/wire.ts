import { z } from "zod";
import { AMOUNT_LIMIT } from "../../protocol/bounds.ts";
import type { Hex } from "../../protocol/bytes.ts";
import { PaymentError } from "../payment-error.ts";

/** Name of this scheme in x402, and the version of x402 that it is written for. */
export const VOUCHER_SCHEME = "voucher";
export const X402_VERSION = 2;

/** Headers of a paid request and its answers; the names of x402 v2, and one of our own. */
export const PAYMENT_HEADERS = {
  required: "PAYMENT-REQUIRED",
  signature: "PAYMENT-SIGNATURE",
  response: "PAYMENT-RESPONSE",
  channel: "x-openledger-channel",
} as const;

/** Characters of one header at most. Node reads 16 KiB of headers in all. */
const MAX_HEADER = 15_360;
/** Characters of a receipt's body in base64. */
const MAX_RECEIPT = 1_400;

export const networkOf = (chainId: bigint) => `eip155:${chainId}` as const;

/** Decimal text, below 2^128. */
export const amount = z
  .string()
  .regex(/^(0|[1-9]\d{0,38})$/, "must be a decimal number")
  .transform(BigInt)
  .refine((value) => value < AMOUNT_LIMIT, "is too large");

export const u32 = z.int().min(0).max(0xffffffff);
export const position = z.int().min(0);

export const hexBytes = (bytes: number) =>
  z
    .string()
    .regex(new RegExp(`^0x[0-9a-fA-F]{${2 * bytes}}$`), `must be 0x and ${2 * bytes} digits`)
    .transform((text) => text.toLowerCase() as Hex);

export const base64Bytes = z
  .string()
  .max(MAX_RECEIPT)
  .regex(/^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/, "must be base64")
  .transform((text) => new Uint8Array(Buffer.from(text, "base64")));

export const toBase64 = (bytes: Uint8Array) => Buffer.from(bytes).toString("base64");

/** A header's value: base64 of JSON, as x402 v2 has it. */
export function encodeHeader(value: unknown): string {
  return Buffer.from(JSON.stringify(value)).toString("base64");
}

/**
 * Reads a header's value.
 *
 * @throws {PaymentError} `malformed` when it is too large, no base64, no JSON or not what is expected.
 */
export function decodeHeader<T>(name: string, text: string, schema: z.ZodType<T>): T {
  if (text.length > MAX_HEADER) throw malformed(name, `it has more than ${MAX_HEADER} characters`);
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(text)) throw malformed(name, "it is not base64");
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(text, "base64").toString("utf8"));
  } catch (cause) {
    throw malformed(name, "it holds no JSON", cause);
  }
  return readWire(name, value, schema);
}

/**
 * Reads a value of the payment protocol that came as JSON.
 *
 * @throws {PaymentError} `malformed`.
 */
export function readWire<T>(name: string, value: unknown, schema: z.ZodType<T>): T {
  const read = schema.safeParse(value);
  if (read.success) return read.data;
  const [issue] = read.error.issues;
  throw malformed(name, `${issue.path.join(".") || "it"}: ${issue.message}`);
}

export function malformed(name: string, what: string, cause?: unknown): PaymentError {
  return new PaymentError("malformed", `${name} cannot be read: ${what}.`, { header: name }, { cause });
}
