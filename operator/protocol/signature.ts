import { instantiateSecp256k1 } from "@bitauth/libauth/build/lib/crypto/secp256k1.js";
import type { Secp256k1 } from "@bitauth/libauth/build/lib/crypto/secp256k1-types.js";
import { secp256k1 as noble } from "@noble/curves/secp256k1.js";
import { type Hex, isZero, toHex } from "./bytes.ts";
import { keccak } from "./keccak.ts";

/** Bytes of a signature: `r`, `s` and `v`. */
export const SIGNATURE_BYTES = 65;

/** Half of the group's order, rounded down: the highest `s` accepted (EIP-2). */
const HALF_ORDER = noble.Point.Fn.ORDER / 2n;
const HALF_ORDER_BYTES = Uint8Array.from({ length: 32 }, (_, i) => Number((HALF_ORDER >> BigInt(248 - 8 * i)) & 255n));

interface Curve {
  /** The uncompressed public key, or undefined when there is none. */
  recover(digest: Uint8Array, compact: Uint8Array, parity: 0 | 1): Uint8Array | undefined;
  sign(digest: Uint8Array, privateKey: Uint8Array): { compact: Uint8Array; parity: number };
  publicKey(privateKey: Uint8Array): Uint8Array;
}

const javascript: Curve = {
  recover(digest, compact, parity) {
    try {
      const signature = noble.Signature.fromBytes(compact, "compact").addRecoveryBit(parity);
      return signature.recoverPublicKey(digest).toBytes(false);
    } catch {
      return undefined;
    }
  },
  sign(digest, privateKey) {
    const signature = noble.sign(digest, privateKey, { prehash: false, format: "recovered" });
    return { compact: signature.slice(1), parity: signature[0] };
  },
  publicKey: (privateKey) => noble.getPublicKey(privateKey, false),
};

function overWebAssembly(curve: Secp256k1): Curve {
  const bytes = <T>(result: T | string): T => {
    if (typeof result === "string") throw new TypeError(result);
    return result;
  };
  return {
    recover(digest, compact, parity) {
      const key = curve.recoverPublicKeyUncompressed(compact, parity, digest);
      return typeof key === "string" ? undefined : key;
    },
    sign(digest, privateKey) {
      const signed = bytes(curve.signMessageHashRecoverableCompact(privateKey, digest));
      return { compact: signed.signature, parity: signed.recoveryId };
    },
    publicKey: (privateKey) => bytes(curve.derivePublicKeyUncompressed(privateKey)),
  };
}

const webAssembly = await instantiateSecp256k1().then(overWebAssembly, () => undefined);
let curve: Curve = webAssembly ?? javascript;

/**
 * Chooses the implementation; both give the same answers. Without a call it is WebAssembly where that runs.
 *
 * @returns Whether the implementation asked for is now in use.
 */
export function chooseCurve(kind: "webassembly" | "javascript"): boolean {
  const chosen = kind === "javascript" ? javascript : webAssembly;
  if (chosen) curve = chosen;
  return chosen !== undefined;
}

/**
 * Recovers the address that signed a digest, accepting exactly what the contracts accept: 65 bytes `r ‖ s ‖ v`,
 * `v` 27 or 28, `r` and `s` from 1 up, `s` in the lower half of the order (EIP-2).
 *
 * @returns The address in lower case, or undefined when the signature is none.
 */
export function recoverSigner(digest: Uint8Array, signature: Uint8Array): Hex | undefined {
  if (signature.length !== SIGNATURE_BYTES) return undefined;
  const parity = signature[64] - 27;
  if (parity !== 0 && parity !== 1) return undefined;
  const s = signature.subarray(32, 64);
  if (isAbove(s, HALF_ORDER_BYTES) || isZero(s) || isZero(signature.subarray(0, 32))) return undefined;
  const key = curve.recover(digest, signature.subarray(0, 64), parity);
  return key && addressOfKey(key);
}

/**
 * Signs a digest (RFC 6979, low `s`).
 *
 * @param privateKey 32 bytes.
 * @returns 65 bytes `r ‖ s ‖ v`.
 */
export function signDigest(digest: Uint8Array, privateKey: Uint8Array): Uint8Array {
  const { compact, parity } = curve.sign(digest, privateKey);
  const signature = new Uint8Array(SIGNATURE_BYTES);
  signature.set(compact);
  signature[64] = 27 + parity;
  return signature;
}

/** The address of a private key of 32 bytes, in lower case. */
export function addressOf(privateKey: Uint8Array): Hex {
  return addressOfKey(curve.publicKey(privateKey));
}

function addressOfKey(uncompressed: Uint8Array): Hex {
  return toHex(keccak(uncompressed.subarray(1)).subarray(12));
}

function isAbove(a: Uint8Array, b: Uint8Array): boolean {
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return a[i] > b[i];
  return false;
}
