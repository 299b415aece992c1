import { hash } from "node:crypto";
import type { SparseAttention } from "../model/sparse-attention.ts";

/** The adapters of a sequence as the cache sees them: contents and weights, never names. */
interface AdapterContent {
  /** Hex SHA-256 over configuration and weights. */
  readonly hash: string;
  readonly weight: number;
}

/**
 * Where the chain of keys of a sequence starts. Keys and values depend on the adapters that computed them, so sequences
 * share blocks only under the same contents and weights, in any order. They depend on what was attended to as well.
 */
export function rootKey(adapters: readonly AdapterContent[], sparse?: SparseAttention): string {
  const parts = adapters.map((adapter) => `${adapter.hash}*${adapter.weight}`).sort();
  const { blockSize, sinkBlocks, localBlocks, stride } = sparse ?? {};
  const pattern = sparse ? ` sparse:${[blockSize, sinkBlocks, localBlocks, stride].join()}` : "";
  return hash("sha256", `prefix:${parts.join("+")}${pattern}`, "base64");
}

/**
 * Key of one full block: SHA-256 over the key of everything before it and its own tokens. Equal keys mean equal
 * tokens at equal positions under equal adapters.
 *
 * @param tokens [blockSize] token ids
 */
export function blockKey(previous: string, tokens: Int32Array): string {
  const bytes = Buffer.allocUnsafe(44 + tokens.byteLength);
  bytes.write(previous, "latin1");
  Buffer.from(tokens.buffer, tokens.byteOffset, tokens.byteLength).copy(bytes, 44);
  return hash("sha256", bytes, "base64");
}

/** Keys of the whole blocks among the first `limit` tokens of a sequence. */
export function wholeBlockKeys(root: string, tokens: Int32Array, limit: number, blockSize: number): string[] {
  const keys: string[] = [];
  for (let end = blockSize; end <= limit; end += blockSize) {
    keys.push(blockKey(keys.at(-1) ?? root, tokens.subarray(end - blockSize, end)));
  }
  return keys;
}
