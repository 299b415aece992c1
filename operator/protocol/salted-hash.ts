import { ByteWriter } from "./bytes.ts";
import { keccak } from "./keccak.ts";

/** Bytes of a salt. */
const SALT_BYTES = 32;

/**
 * What stands for a request or an answer where everybody can read it: keccak-256 of `salt ‖ bytes`. Without the salt
 * nobody can tell whether a guess at the content is right.
 *
 * @param salt 32 bytes that the payer draws for each request; the answer is salted with the request's.
 * @throws {MalformedBytes} When the salt has another length.
 */
export function saltedHash(salt: Uint8Array, content: Uint8Array): Uint8Array {
  return keccak(new ByteWriter(SALT_BYTES + content.length).raw(salt, SALT_BYTES).raw(content).finish());
}
