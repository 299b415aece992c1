import assert from "node:assert/strict";
import { before, describe, it } from "node:test";
import type { SealedBatch } from "../../../operator/protocol/batch.ts";
import { buildFraudProof, headerWitness } from "../../../operator/protocol/fraud-proof.ts";
import { judgeReceipt, replayBatch, type WrongStep } from "../../../operator/protocol/replay.ts";
import { type State, stateRoot } from "../../../operator/protocol/state.ts";
import { type Verdict, verdictName } from "../../../operator/protocol/verdict.ts";
import { openStory, type Story, tellBatch } from "../../operator/protocol/jobs.ts";
import { type LieOptions, tellLie } from "../../operator/protocol/liar.ts";
import { LIES } from "../../operator/protocol/lies.ts";
import { contextOf, type World } from "../../operator/protocol/world.ts";
import { type ChainWorld, mirrorWorld } from "./chain-world.ts";

/** Every receipt of an honest batch with the state before it, as a watcher would prove it if it were wrong. */
function* stepsOf(world: World, batch: SealedBatch, start: State): Generator<WrongStep> {
  const finalRoot = stateRoot(batch.header.state);
  let state = start;
  for (const [index, receipt] of batch.receipts.entries()) {
    const isLast = index === batch.receipts.length - 1;
    const step = judgeReceipt(state, receipt, isLast ? finalRoot : null, contextOf(world));
    if (!step.after) return;
    yield { index, before: state, step };
    state = step.after;
  }
}

describe("on the chain", () => {
  let chain: ChainWorld;
  let story: Story;

  before(async () => {
    chain = await mirrorWorld(7);
    story = openStory(chain.world);
    const { batch } = tellBatch(story, 5);
    await chain.setNextTime(chain.world.now - 1);
    await chain.settlement.write.submitBatch([headerWitness(batch.header)]);
  });

  /** Posts one lie, proves it, and takes both back. */
  async function proveLie(lie: (typeof LIES)[number], options: LieOptions): Promise<{ verdict: Verdict; gas: bigint }> {
    const { world, settlement, operators } = chain;
    return chain.undone(async () => {
      const told = tellLie(story, lie, options);
      await chain.setNextTime(world.now);
      await settlement.write.submitBatch([headerWitness(told.batch.header)]);
      const { wrong } = replayBatch(told.before, told.batch, contextOf(world));
      assert.ok(wrong, "the watcher found nothing");
      assert.equal(wrong.index, told.index);
      const proof = buildFraudProof(told.batch, told.parent, wrong, world.registry);
      const verdict: Verdict = await chain.verifier.read.judge([proof, world.now]);
      const gas = await chain.gasOf(await settlement.write.proveFraud([proof]));
      const { tip } = await settlement.read.chainOf([world.operator]);
      assert.equal(tip, 1n, "the batch fell and the one below stands");
      assert.equal(await operators.read.bondOf([world.operator]), 0n, "the bond is slashed");
      return { verdict, gas };
    });
  }

  for (const lie of LIES) {
    it(`a lie is proven in one transaction: ${lie.name} (${verdictName(lie.verdict)})`, async () => {
      const { verdict } = await proveLie(lie, { before: 2, after: 1 });
      assert.equal(verdictName(verdict), verdictName(lie.verdict));
    });
  }

  it("a thousand random honest receipts are judged valid, and none can be proven", async () => {
    const { world, verifier, settlement } = chain;
    const told = openStory(world);
    let count = 0;
    for (const size of [1, 2, 3, 33, 100, 361, 500]) {
      const { batch, parent, before } = tellBatch(told, size);
      for (const step of stepsOf(world, batch, before)) {
        const proof = buildFraudProof(batch, parent, step, world.registry);
        const verdict: Verdict = await verifier.read.judge([proof, world.now]);
        assert.equal(verdictName(verdict), "valid", `receipt ${step.index} of ${size}`);
        count++;
      }
    }
    assert.equal(count, 1_000);
    await chain.undone(async () => {
      const { batch, parent, before } = tellBatch({ ...story, ledgers: new Map(story.ledgers) }, 1);
      await chain.setNextTime(world.now);
      await settlement.write.submitBatch([headerWitness(batch.header)]);
      const [step] = stepsOf(world, batch, before);
      const proof = buildFraudProof(batch, parent, step, world.registry);
      await assert.rejects(settlement.write.proveFraud([proof]), /Settlement_NotFraud/);
    });
  });

  it("a proof with 16 earners stays below 1,500,000 gas in a batch of 1,000", async (t) => {
    const worst = LIES.find(({ name }) => name === "one wei more for the operator, from nowhere");
    assert.ok(worst);
    const pools = { 8: [1, 1, 0], 16: [4, 4, 2], 32: [12, 12, 2] };
    for (const [earners, [context, training, tool]] of Object.entries(pools)) {
      const { gas } = await proveLie(worst, { before: 500, after: 499, pools: { context, training, tool } });
      t.diagnostic(`${earners} earners: ${gas} gas`);
      if (earners === "16") assert.ok(gas < 1_500_000n, `${gas}`);
    }
  });
});
