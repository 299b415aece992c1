import assert from "node:assert/strict";
import { before, describe, it } from "node:test";
import { receiptLeaves, type SealedBatch } from "../../../operator/protocol/batch.ts";
import { buildBatchTree } from "../../../operator/protocol/batch-tree.ts";
import { fromHex, type Hex } from "../../../operator/protocol/bytes.ts";
import { claimWitness, collectWitness, revealWitness } from "../../../operator/protocol/claims.ts";
import { buildFraudProof, headerWitness } from "../../../operator/protocol/fraud-proof.ts";
import { replayBatch } from "../../../operator/protocol/replay.ts";
import { treeEntries } from "../../../operator/protocol/sparse-tree.ts";
import type { State } from "../../../operator/protocol/state.ts";
import { openStory, type Story, type ToldBatch, tellBatch } from "../../operator/protocol/jobs.ts";
import { tellLie } from "../../operator/protocol/liar.ts";
import { LIES } from "../../operator/protocol/lies.ts";
import { contextOf } from "../../operator/protocol/world.ts";
import { type ChainWorld, mirrorWorld, WINDOWS } from "./chain-world.ts";

const LIE = LIES.find(({ name }) => name === "one wei from the treasury to the operator")!;

describe("a settlement on the chain", () => {
  let chain: ChainWorld;
  let story: Story;

  before(async () => {
    chain = await mirrorWorld(11);
    story = openStory(chain.world);
  });

  async function post(batch: SealedBatch, time: number): Promise<void> {
    await chain.setNextTime(time);
    await chain.settlement.write.submitBatch([headerWitness(batch.header)]);
  }

  async function finalize(height: bigint, time: number): Promise<void> {
    await chain.setNextTime(time);
    await chain.settlement.write.finalize([1, height]);
  }

  async function collectAll({ batch, after }: ToldBatch): Promise<void> {
    const channels = Array.from(treeEntries(after.channels), ([channel]) => channel);
    const { header, collections, siblings, bitmap } = collectWitness(batch.header, after, channels);
    await chain.channels.write.collect([header, collections, siblings, bitmap]);
  }

  async function claimAll(batch: SealedBatch, after: State): Promise<void> {
    const ids = Array.from(treeEntries(after.earners), ([id]) => id);
    for (let i = 0; i < ids.length; i += 50) {
      const witness = claimWitness(batch.header, after, ids.slice(i, i + 50));
      await chain.settlement.write.claim([{ ...witness, payees: witness.ids.map(() => []) }]);
    }
  }

  it("pays out to the wei what the payers spent, over several batches", async () => {
    const { settlement, token, world } = chain;
    await chain.undone(async () => {
      const own = { ...story, ledgers: new Map(story.ledgers) };
      const { now, registryTime } = world;
      let time = now;
      for (const size of [3, 40, 17]) {
        const told = tellBatch(own, size);
        await post(told.batch, time++);
        const { height, state } = told.batch.header;
        if (size === 40) continue;
        await finalize(height, time + WINDOWS.challenge);
        time += WINDOWS.challenge + 10;
        // What follows is a new day: the registries did not change, and neither did the vouchers' lives.
        world.now = time;
        world.registryTime = time - 60;
        await collectAll(told);
        await claimAll(told.batch, told.after);
        await settlement.write.claimTreasury([headerWitness(told.batch.header)]);
        await settlement.write.claimOperator([headerWitness(told.batch.header)]);

        let contributors = 0n;
        for (const [id, earned] of treeEntries(told.after.earners)) {
          assert.equal(await settlement.read.claimedOf([1, id]), earned);
          contributors += earned;
        }
        const pool = await settlement.read.poolOf([1]);
        assert.equal(pool.contributorsPaid, contributors);
        assert.equal(pool.treasuryPaid, state.treasuryEarned);
        assert.equal(pool.operatorPaid, state.operatorEarned);
        assert.equal(pool.contributorsPaid + pool.treasuryPaid + pool.operatorPaid, state.totalSpent);
        assert.equal(await token.read.balanceOf([settlement.address]), 0n);
      }
      Object.assign(world, { now, registryTime });
    });
  });

  it("posts again after a fall what was honest, and is paid for it", async () => {
    const { settlement, operators, world } = chain;
    await chain.undone(async () => {
      const { now } = world;
      const lying = tellLie({ ...story, ledgers: new Map(story.ledgers) }, LIE, { before: 3, after: 3 });
      await post(lying.batch, now);
      const { wrong } = replayBatch(lying.before, lying.batch, contextOf(world, now));
      await settlement.write.proveFraud([buildFraudProof(lying.batch, lying.parent, wrong!, world.registry)]);
      await operators.write.depositBond([1, 10n ** 24n]);

      const own = { ...story, ledgers: new Map(story.ledgers), sequence: lying.batch.header.sequence + 1n };
      const told = tellBatch(own, 6);
      const later = now + 3_600;
      await post(told.batch, later);
      assert.ok(replayBatch(told.before, told.batch, contextOf(world, later)).after, "still within the time to post");
      await finalize(1n, later + WINDOWS.challenge + 1);
      await collectAll(told);
      await claimAll(told.batch, told.after);
      const pool = await settlement.read.poolOf([1]);
      assert.ok(pool.contributorsPaid > 0n);
    });
  });

  it("shows a lie in data that were not published, once they are demanded", async (t) => {
    const { settlement, world } = chain;
    await chain.undone(async () => {
      const lying = tellLie({ ...story, ledgers: new Map(story.ledgers) }, LIE, { before: 40, after: 5 });
      await post(lying.batch, world.now);
      const header = headerWitness(lying.batch.header);
      const value = 2n * (await settlement.read.demandPrice());
      for (const chunk of [0, 1]) {
        await settlement.write.demandChunk([header, chunk], { value });
        const { receipts, path } = revealWitness(lying.batch, chunk);
        const gas = await chain.gasOf(await settlement.write.revealChunk([header, chunk, receipts, path]));
        t.diagnostic(`an answer of ${receipts.length} receipts: ${gas} gas`);
        assert.ok(gas < 1_400_000n, `the demander pays for twice 700,000 gas, the answer took ${gas}`);
      }

      // The watcher knows the state before the batch, the header, and what was revealed.
      const revealed = await settlement.getEvents.ChunkRevealed({}, { fromBlock: 0n });
      const receipts = revealed
        .sort((a, b) => Number(a.args.chunk - b.args.chunk))
        .flatMap(({ args }) => args.receipts as { length: number; stateRoot: Hex; body: Hex }[])
        .map(({ length, stateRoot, body }) => ({ length, stateRoot: fromHex(stateRoot), body: fromHex(body) }));
      const seen = { ...lying.batch, receipts, tree: buildBatchTree(receiptLeaves(receipts)), data: new Uint8Array() };
      const { wrong } = replayBatch(lying.before, seen, contextOf(world));
      assert.equal(wrong?.index, lying.index);
      await settlement.write.proveFraud([buildFraudProof(seen, lying.parent, wrong, world.registry)]);
      assert.equal((await settlement.read.chainOf([1])).tip, 0n);
    });
  });

  it("lets a batch fall whose lie is withheld", async () => {
    const { settlement, operators, world } = chain;
    await chain.undone(async () => {
      const lying = tellLie({ ...story, ledgers: new Map(story.ledgers) }, LIE, { before: 40, after: 5 });
      await post(lying.batch, world.now);
      const header = headerWitness(lying.batch.header);
      await chain.setNextTime(world.now + WINDOWS.challenge);
      await settlement.write.demandChunk([header, 1], { value: 10n ** 17n });
      await assert.rejects(finalize(1n, world.now + WINDOWS.challenge + 1), /Settlement_OpenDemands/);
      await assert.rejects(settlement.write.proveWithheld([header, 1]), /Settlement_RevealNotDue/);
      await chain.setNextTime(world.now + WINDOWS.challenge + WINDOWS.reveal + 1);
      await settlement.write.proveWithheld([header, 1]);
      assert.equal((await settlement.read.chainOf([1])).tip, 0n);
      assert.equal(await operators.read.bondOf([1]), 0n);
    });
  });
});
