import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { chunkCount, rootFromSiblings } from "../../../operator/protocol/batch-tree.ts";
import { fromHex } from "../../../operator/protocol/bytes.ts";
import { claimWitness, collectWitness, revealWitness } from "../../../operator/protocol/claims.ts";
import { keccak } from "../../../operator/protocol/keccak.ts";
import { receiptLeaf } from "../../../operator/protocol/receipt.ts";
import { recoverSigner } from "../../../operator/protocol/signature.ts";
import { rootFromMultiproof, treeEntries } from "../../../operator/protocol/sparse-tree.ts";
import { channelLeaf, earnerLeaf } from "../../../operator/protocol/state.ts";
import { voucherDigest } from "../../../operator/protocol/voucher.ts";
import { openStory, tellBatch } from "./jobs.ts";
import { tellLie } from "./liar.ts";
import { LIES } from "./lies.ts";
import { createWorld } from "./world.ts";

const story = openStory(createWorld({ seed: 3 }));
const { batch, after } = tellBatch(story, 70);
const { world } = story;

describe("collecting", () => {
  it("shows each channel's record under the header, with a voucher that covers it", () => {
    const channels = [...treeEntries(after.channels)].map(([channel]) => channel);
    const { collections, siblings, bitmap } = collectWitness(batch.header, after, channels);
    const leaves = collections.map(({ state }, i) => channelLeaf(channels[i], state));
    const proof = { siblings: siblings.map(fromHex), bitmap: fromHex(bitmap) };
    assert.deepEqual(rootFromMultiproof(channels, leaves, proof), batch.header.state.channelsRoot);
    let spent = 0n;
    for (const { voucher, r, s, v, state } of collections) {
      assert.ok(voucher.cap >= state.spent);
      assert.equal(voucher.cap, state.capSeen);
      const digest = voucherDigest(world.separator, { ...voucher, requestHash: fromHex(voucher.requestHash) });
      assert.equal(
        recoverSigner(digest, fromHex(`${r}${s.slice(2)}${v.toString(16)}`)),
        world.registry.channel(voucher.channel)!.sessionKey,
      );
      spent += state.spent;
    }
    assert.equal(spent, batch.header.state.totalSpent);
  });

  it("is refused for a channel that was never served", () => {
    assert.throws(() => collectWitness(batch.header, after, [world.spareChannel]), { name: "ProtocolError" });
  });
});

describe("claiming", () => {
  it("shows what every id has earned, which with treasury and operator is all that was spent", () => {
    const ids = [...treeEntries(after.earners)].map(([id]) => id);
    const { earned, siblings, bitmap } = claimWitness(batch.header, after, ids);
    const leaves = earned.map((amount, i) => earnerLeaf(ids[i], amount));
    const proof = { siblings: siblings.map(fromHex), bitmap: fromHex(bitmap) };
    assert.deepEqual(rootFromMultiproof(ids, leaves, proof), batch.header.state.earnersRoot);
    const { totalSpent, treasuryEarned, operatorEarned } = batch.header.state;
    assert.equal(
      earned.reduce((sum, amount) => sum + amount, treasuryEarned + operatorEarned),
      totalSpent,
    );
    assert.ok(totalSpent > 0n);
  });
});

describe("revealing", () => {
  it("brings the receipts of a chunk and the path of their subtree", () => {
    for (let chunk = 0; chunk < chunkCount(70); chunk++) {
      const { receipts, path } = revealWitness(batch, chunk);
      assert.equal(receipts.length, chunk < 2 ? 32 : 6);
      const first = receiptLeaf(chunk * 32, {
        length: receipts[0].length,
        stateRoot: fromHex(receipts[0].stateRoot),
        bodyHash: keccak(fromHex(receipts[0].body)),
      });
      assert.deepEqual(first, batch.tree.levels[0][chunk * 32]);
      const root = batch.tree.levels[5][chunk];
      assert.deepEqual(rootFromSiblings(root, chunk, path.map(fromHex)), batch.header.receiptsRoot);
    }
    assert.throws(() => revealWitness(batch, 3), { name: "MalformedProof" });
  });

  it("is refused where a leaf is vacant", () => {
    const { batch: lying } = tellLie(story, LIES.find(({ name }) => name === "a leaf is left out")!);
    assert.throws(() => revealWitness(lying, 0), { name: "ProtocolError" });
  });
});
