import { type Hex, toHex } from "../../protocol/bytes.ts";
import { SIGNATURE_BYTES } from "../../protocol/signature.ts";

/** A digest of 32 bytes and a signature of 65. */
export interface SignedDigest {
  digest: Uint8Array;
  signature: Uint8Array;
}

const DIGEST_BYTES = 32;
const SIGNED_BYTES = DIGEST_BYTES + SIGNATURE_BYTES;
const ADDRESS_BYTES = 20;
/** One byte says whether there is an address. */
const SIGNER_BYTES = 1 + ADDRESS_BYTES;

/** One message to the thread. */
export function packSigned(group: readonly SignedDigest[]): Uint8Array<ArrayBuffer> {
  const packed = new Uint8Array(SIGNED_BYTES * group.length);
  group.forEach(({ digest, signature }, i) => {
    packed.set(digest, SIGNED_BYTES * i);
    packed.set(signature, SIGNED_BYTES * i + DIGEST_BYTES);
  });
  return packed;
}

export function unpackSigned(packed: Uint8Array): SignedDigest[] {
  return Array.from({ length: packed.length / SIGNED_BYTES }, (_, i) => {
    const signed = packed.subarray(SIGNED_BYTES * i, SIGNED_BYTES * (i + 1));
    return { digest: signed.subarray(0, DIGEST_BYTES), signature: signed.subarray(DIGEST_BYTES) };
  });
}

/** The thread's answer. @param signers Addresses of 20 bytes; undefined where the signature is none. */
export function packSigners(signers: readonly (Uint8Array | undefined)[]): Uint8Array<ArrayBuffer> {
  const packed = new Uint8Array(SIGNER_BYTES * signers.length);
  signers.forEach((signer, i) => {
    if (signer) packed.set([1, ...signer], SIGNER_BYTES * i);
  });
  return packed;
}

export function unpackSigners(packed: Uint8Array): (Hex | undefined)[] {
  return Array.from({ length: packed.length / SIGNER_BYTES }, (_, i) => {
    const at = SIGNER_BYTES * i;
    return packed[at] === 1 ? toHex(packed.subarray(at + 1, at + SIGNER_BYTES)) : undefined;
  });
}
