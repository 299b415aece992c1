import { keccak_256 } from "@noble/hashes/sha3.js";
import { createKeccak } from "hash-wasm";

type Hash = (data: Uint8Array) => Uint8Array;

/** The WebAssembly form, about seven times as fast; none where WebAssembly does not run. */
async function webAssemblyKeccak(): Promise<Hash | undefined> {
  try {
    const hasher = await createKeccak(256);
    return (data) => {
      hasher.init();
      hasher.update(data);
      return hasher.digest("binary");
    };
  } catch {
    return undefined;
  }
}

const webAssembly = await webAssemblyKeccak();
let hash: Hash = webAssembly ?? keccak_256;

/** Keccak-256 of some bytes, as Ethereum has it: 32 bytes of its own, safe to keep. */
export function keccak(data: Uint8Array): Uint8Array {
  return hash(data);
}

/**
 * Chooses the implementation; both give the same bytes. Without a call it is WebAssembly where that runs.
 *
 * @returns Whether the implementation asked for is now in use.
 */
export function chooseKeccak(kind: "webassembly" | "javascript"): boolean {
  const chosen = kind === "javascript" ? keccak_256 : webAssembly;
  if (chosen) hash = chosen;
  return chosen !== undefined;
}
