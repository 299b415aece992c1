import { SettlementError } from "../errors.ts";

/**
 * JSON for what the sequencer's calls carry: whole numbers beyond JavaScript's are `{"$int": "decimal"}`, bytes are
 * `{"$bytes": "base64"}`.
 */
export function encodeWire(value: unknown): string {
  return JSON.stringify(value, function (this: Record<string, unknown>, key, given) {
    // Taken from the holder, since a Buffer has already become something else here.
    const raw = this[key];
    if (typeof raw === "bigint") return { $int: String(raw) };
    if (raw instanceof Uint8Array) return { $bytes: Buffer.from(raw).toString("base64") };
    return given;
  });
}

/** @throws {SettlementError} `malformedRequest` when the text is none that {@link encodeWire} writes. */
export function decodeWire(text: string): unknown {
  try {
    return JSON.parse(text, (_, value) => {
      if (typeof value !== "object" || value === null) return value;
      if (typeof value.$bytes === "string") return new Uint8Array(Buffer.from(value.$bytes, "base64"));
      if (typeof value.$int === "string" && /^\d{1,78}$/.test(value.$int)) return BigInt(value.$int);
      return value;
    });
  } catch (cause) {
    throw malformed("not JSON", cause);
  }
}

export function malformed(what: string, cause?: unknown): SettlementError {
  return new SettlementError("malformedRequest", `The request cannot be read: ${what}.`, {}, { cause });
}
