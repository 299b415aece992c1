import type { Hex } from "../../protocol/bytes.ts";
import type { AttributionEntry } from "../../protocol/receipt.ts";
import type { Outcome, PaidRequest } from "../sequencer.ts";
import { malformed } from "./wire.ts";

type Fields = Record<string, unknown>;

/**
 * Reads what `admit` takes; what the fields say is judged by the sequencer.
 *
 * @throws {SettlementError} `malformedRequest`, as all in this file.
 */
export function readPaidRequest(value: unknown): PaidRequest {
  const given = readFields(value);
  const voucher = readFields(given.voucher);
  return {
    voucher: {
      channel: readNumber(voucher, "channel"),
      nonce: readBigInt(voucher, "nonce"),
      agent: readNumber(voucher, "agent"),
      version: readNumber(voucher, "version"),
      requestHash: readBytes(voucher, "requestHash"),
      maxPrice: readBigInt(voucher, "maxPrice"),
      cap: readBigInt(voucher, "cap"),
      expiry: readBigInt(voucher, "expiry"),
    },
    signature: readHex(given, "signature"),
    request: readBytes(given, "request"),
    salt: readHex(given, "salt"),
  };
}

/** Reads what `complete` takes beside the job's id. */
export function readOutcome(value: unknown): Outcome {
  const given = readFields(value);
  return {
    responseHash: readHex(given, "responseHash"),
    traceHash: readHex(given, "traceHash"),
    promptTokens: readNumber(given, "promptTokens"),
    completionTokens: readNumber(given, "completionTokens"),
    context: readPool(given, "context"),
    training: readPool(given, "training"),
    tools: readPool(given, "tools"),
    response: readBytes(given, "response"),
    trace: readBytes(given, "trace"),
  };
}

export function readFields(value: unknown): Fields {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Fields;
  throw malformed("an object is missing");
}

export function readNumber(fields: Fields, name: string): number {
  const value = fields[name];
  if (typeof value === "number" && Number.isInteger(value) && value >= 0 && value < 2 ** 32) return value;
  throw malformed(`${name} is not a number of 32 bits`);
}

export function readBigInt(fields: Fields, name: string): bigint {
  const value = fields[name];
  if (typeof value === "bigint") return value;
  throw malformed(`${name} is not a whole number`);
}

export function readText(fields: Fields, name: string): string {
  const value = fields[name];
  if (typeof value === "string") return value;
  throw malformed(`${name} is not text`);
}

/** @param bytes How many, where the length is fixed. */
export function readHex(fields: Fields, name: string, bytes?: number): Hex {
  const value = fields[name];
  const isHex = typeof value === "string" && /^0x([0-9a-fA-F]{2})*$/.test(value);
  if (isHex && (bytes === undefined || value.length === 2 + 2 * bytes)) return value.toLowerCase() as Hex;
  throw malformed(`${name} is not hexadecimal`);
}

function readBytes(fields: Fields, name: string): Uint8Array {
  const value = fields[name];
  if (value instanceof Uint8Array) return value;
  throw malformed(`${name} is not bytes`);
}

function readPool(fields: Fields, name: string): AttributionEntry[] {
  const value = fields[name];
  if (!Array.isArray(value)) throw malformed(`${name} is not a list`);
  return value.map((entry) => {
    const given = readFields(entry);
    return { id: readNumber(given, "id"), ppm: readNumber(given, "ppm"), via: readNumber(given, "via") };
  });
}
