import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { batchTreeDepth, rootFromSiblings } from "../../../operator/protocol/batch-tree.ts";
import { fromHex, ZERO_HASH } from "../../../operator/protocol/bytes.ts";
import { compositionHash } from "../../../operator/protocol/composition.ts";
import { buildFraudProof, type HeaderWitness, type LeafWitness } from "../../../operator/protocol/fraud-proof.ts";
import { headerHash } from "../../../operator/protocol/header.ts";
import { keccak } from "../../../operator/protocol/keccak.ts";
import { receiptLeaf } from "../../../operator/protocol/receipt.ts";
import { replayBatch } from "../../../operator/protocol/replay.ts";
import { rootFromMultiproof } from "../../../operator/protocol/sparse-tree.ts";
import { channelLeaf, earnerLeaf, stateRoot } from "../../../operator/protocol/state.ts";
import { VERDICT } from "../../../operator/protocol/verdict.ts";
import { openStory, type Story, tellBatch } from "./jobs.ts";
import { type Lie, tellLie } from "./liar.ts";
import { LIES } from "./lies.ts";
import { contextOf, createWorld } from "./world.ts";

const fresh = openStory(createWorld({ seed: 21 }));
const grown = openStory(createWorld({ seed: 22 }));
tellBatch(grown, 6);

const summaryOf = (state: HeaderWitness["state"]) => ({
  ...state,
  earnersRoot: fromHex(state.earnersRoot),
  channelsRoot: fromHex(state.channelsRoot),
});
const hashOf = (header: HeaderWitness) =>
  headerHash({
    ...header,
    parentHash: fromHex(header.parentHash),
    receiptsRoot: fromHex(header.receiptsRoot),
    dataHash: fromHex(header.dataHash),
    state: summaryOf(header.state),
  });

/** Checks, piece by piece, that a proof holds together under the hashes that the chain knows. */
function checkProof(story: Story, lie: Lie, before: number): void {
  const told = tellLie(story, lie, { before, after: 1 });
  const { wrong } = replayBatch(told.before, told.batch, contextOf(story.world));
  assert.ok(wrong);
  const { verdict, receipt, payout } = wrong.step;
  const proof = buildFraudProof(told.batch, told.parent, wrong, story.world.registry);
  const { header, index } = proof;
  assert.deepEqual(hashOf(header), told.batch.hash);

  const checkLeaf = (leaf: LeafWitness, at: number, vacant: boolean) => {
    const hash = vacant
      ? ZERO_HASH
      : receiptLeaf(at, { length: leaf.length, stateRoot: fromHex(leaf.stateRoot), bodyHash: fromHex(leaf.bodyHash) });
    assert.equal(leaf.proof.length, batchTreeDepth(header.count));
    assert.deepEqual(rootFromSiblings(hash, at, leaf.proof.map(fromHex)), fromHex(header.receiptsRoot));
  };
  checkLeaf(proof.receipt, index, proof.vacant);
  assert.equal(proof.vacant, verdict === VERDICT.missingReceipt);
  if (verdict > VERDICT.finalStateMismatch)
    assert.deepEqual(keccak(fromHex(proof.body)), fromHex(proof.receipt.bodyHash));

  const beforeRoot = stateRoot(summaryOf(proof.before));
  if (index > 0) {
    checkLeaf(proof.previous, index - 1, false);
    assert.deepEqual(fromHex(proof.previous.stateRoot), beforeRoot);
  } else if (told.parent) {
    assert.deepEqual(hashOf(proof.parent), fromHex(header.parentHash));
    assert.deepEqual(stateRoot(summaryOf(proof.parent.state)), beforeRoot);
  } else {
    assert.deepEqual(fromHex(header.parentHash), ZERO_HASH);
  }
  const agent = receipt && story.world.registry.agentVersion(receipt.voucher.agent, receipt.voucher.version);
  if (agent) assert.deepEqual(compositionHash(fromHex(proof.composition)), compositionHash(agent.bytes));
  if (receipt && (proof.before.channelsRoot !== `0x${"00".repeat(32)}` || proof.channel.bitmap > 0n)) {
    const { channel } = receipt.voucher;
    const path = { siblings: proof.channelSiblings.map(fromHex), bitmap: fromHex(proof.channelBitmap) };
    const root = rootFromMultiproof([channel], [channelLeaf(channel, proof.channel)], path);
    assert.deepEqual(root, fromHex(proof.before.channelsRoot));
  }
  if (payout && payout.credits.length > 0) {
    const ids = payout.credits.map(({ id }) => id);
    const leaves = ids.map((id, i) => earnerLeaf(id, proof.earnedBefore[i]));
    const path = { siblings: proof.earnerSiblings.map(fromHex), bitmap: fromHex(proof.earnerBitmap) };
    assert.deepEqual(rootFromMultiproof(ids, leaves, path), fromHex(proof.before.earnersRoot));
  }
}

describe("a fraud proof", () => {
  it("holds together for every kind of lie, in the first batch and in a later one, at any place", () => {
    for (const lie of LIES) {
      for (const story of [fresh, grown]) for (const before of [0, 3]) checkProof(story, lie, before);
    }
  });
});
