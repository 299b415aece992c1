import { isZero, ZERO_HASH } from "./bytes.ts";
import { keccak } from "./keccak.ts";

const scratch = new Uint8Array(65);
scratch[0] = 0x01;

/** Hash of an inner node of any of the trees; zero over two zero children. */
export function nodeHash(left: Uint8Array, right: Uint8Array): Uint8Array {
  if (isZero(left) && isZero(right)) return ZERO_HASH;
  scratch.set(left, 1);
  scratch.set(right, 33);
  return keccak(scratch);
}
