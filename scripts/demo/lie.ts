import { receiptLeaves, type SealedBatch } from "../../operator/protocol/batch.ts";
import { encodeBatchData } from "../../operator/protocol/batch-data.ts";
import { buildBatchTree } from "../../operator/protocol/batch-tree.ts";
import { headerHash } from "../../operator/protocol/header.ts";
import { keccak } from "../../operator/protocol/keccak.ts";
import { treeSet } from "../../operator/protocol/sparse-tree.ts";
import { earnedBy, type State, stateRoot, summarise } from "../../operator/protocol/state.ts";

/**
 * The batch as a thief would post it: with the last receipt, one wei of a contributor's earnings becomes the
 * operator's. Everything else is consistent, down to the published data, so that only a replay shows it.
 */
export function stealOneWei(honest: SealedBatch, after: State, contributor: number): SealedBatch {
  const forged: State = {
    ...after,
    earners: treeSet(after.earners, [[contributor, earnedBy(after, contributor) - 1n]]),
    operatorEarned: after.operatorEarned + 1n,
  };
  const state = summarise(forged);
  const receipts = honest.receipts.map((receipt, i) =>
    receipt && i === honest.receipts.length - 1 ? { ...receipt, stateRoot: stateRoot(state) } : receipt,
  );
  const tree = buildBatchTree(receiptLeaves(receipts));
  const data = encodeBatchData(honest.header.height, receipts, forged);
  const header = { ...honest.header, state, receiptsRoot: tree.root, dataHash: keccak(data) };
  return { header, hash: headerHash(header), receipts, tree, data };
}
