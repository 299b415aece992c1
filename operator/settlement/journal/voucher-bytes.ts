import { ByteReader, ByteWriter } from "../../protocol/bytes.ts";
import { SIGNATURE_BYTES } from "../../protocol/signature.ts";
import type { SignedVoucher } from "../../protocol/voucher.ts";

const VOUCHER_BYTES = 4 + 8 + 4 + 4 + 32 + 16 + 16 + 8 + SIGNATURE_BYTES;

/**
 * A voucher's bytes in the journal.
 *
 * @throws {MalformedBytes} When a number does not fit its field.
 */
export function encodeVoucher(voucher: SignedVoucher): Uint8Array {
  return new ByteWriter(VOUCHER_BYTES)
    .u32(voucher.channel)
    .u64(voucher.nonce)
    .u32(voucher.agent)
    .u32(voucher.version)
    .raw(voucher.requestHash, 32)
    .u128(voucher.maxPrice)
    .u128(voucher.cap)
    .u64(voucher.expiry)
    .raw(voucher.signature, SIGNATURE_BYTES)
    .finish();
}

/** @throws {MalformedBytes} When the bytes are not exactly a voucher. */
export function decodeVoucher(bytes: Uint8Array): SignedVoucher {
  const reader = new ByteReader(bytes);
  const voucher: SignedVoucher = {
    channel: reader.u32(),
    nonce: reader.u64(),
    agent: reader.u32(),
    version: reader.u32(),
    requestHash: reader.raw(32),
    maxPrice: reader.u128(),
    cap: reader.u128(),
    expiry: reader.u64(),
    signature: reader.raw(SIGNATURE_BYTES),
  };
  reader.end();
  return voucher;
}
