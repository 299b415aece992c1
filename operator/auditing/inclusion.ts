import type { SealedBatch } from "../protocol/batch.ts";
import { batchTreeDepth, proveReceipt, rootFromSiblings } from "../protocol/batch-tree.ts";
import { sameBytes, toHex } from "../protocol/bytes.ts";
import { type BatchHeader, headerHash } from "../protocol/header.ts";
import { keccak } from "../protocol/keccak.ts";
import { receiptLeaf } from "../protocol/receipt.ts";

/** Where a receipt stands in a batch, and what shows it to whoever has the batch's header from the chain. */
export interface Inclusion {
  header: BatchHeader;
  index: number;
  /** Root of the state after the receipt, which its leaf commits to. */
  stateRoot: Uint8Array;
  /** From the leaf to the receipts root. */
  siblings: readonly Uint8Array[];
}

/** The batches of an operator that stand on the chain, by height from 1 on. */
export interface StandingBatches {
  batches(operator: number): readonly { header: BatchHeader; headerHash: string }[];
}

/** Shows that the receipt at an index is in a batch. Undefined where there is none. */
export function includedAt({ header, tree, receipts }: SealedBatch, index: number): Inclusion | undefined {
  const receipt = receipts[index];
  return receipt ? { header, index, stateRoot: receipt.stateRoot, siblings: proveReceipt(tree, index) } : undefined;
}

/**
 * What the chain says to it: `included`, `another` receipt or none stands there, or the batch is not on the chain
 * (`absent`): it was never posted, or it fell.
 */
export function judgeInclusion(
  { header, index, stateRoot, siblings }: Inclusion,
  body: Uint8Array,
  chain: StandingBatches,
): "included" | "another" | "absent" {
  const standing = chain.batches(header.operator)[Number(header.height) - 1];
  if (standing?.headerHash !== toHex(headerHash(header))) return "absent";
  if (index >= header.count || siblings.length !== batchTreeDepth(header.count)) return "another";
  const leaf = receiptLeaf(index, { length: body.length, stateRoot, bodyHash: keccak(body) });
  return sameBytes(rootFromSiblings(leaf, index, siblings), header.receiptsRoot) ? "included" : "another";
}
