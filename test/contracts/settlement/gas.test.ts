import assert from "node:assert/strict";
import { before, describe, it } from "node:test";
import type { Hex } from "../../../operator/protocol/bytes.ts";
import type { HeaderWitness } from "../../../operator/protocol/fraud-proof.ts";
import { type ChainWorld, mirrorWorld, WINDOWS } from "./chain-world.ts";

describe("posting a batch", () => {
  let chain: ChainWorld;
  let time: number;
  let height = 0n;

  before(async () => {
    chain = await mirrorWorld(3);
    time = chain.world.now;
  });

  /** Posts a batch of `count` receipts and lets it become final. */
  async function cycle(count: number): Promise<{ submit: bigint; finalize: bigint }> {
    const { settlement } = chain;
    const fill = (byte: number): Hex => `0x${byte.toString(16).padStart(2, "0").repeat(32)}`;
    height++;
    time += 10;
    await chain.setNextTime(time);
    const header: HeaderWitness = {
      operator: 1,
      sequence: height,
      height,
      parentHash: height === 1n ? fill(0) : (await settlement.read.batchAt([1, height - 1n])).headerHash,
      registryTime: time - 5,
      count,
      receiptsRoot: fill(0xa1),
      dataHash: fill(0xa2),
      state: {
        earnersRoot: fill(0xa3),
        channelsRoot: fill(0xa4),
        totalSpent: height * 10n ** 18n,
        treasuryEarned: height * 10n ** 16n,
        operatorEarned: height * 10n ** 17n,
      },
    };
    const submit = await chain.gasOf(await settlement.write.submitBatch([header]));
    time += WINDOWS.challenge + 1;
    await chain.setNextTime(time);
    const finalize = await chain.gasOf(await settlement.write.finalize([1, height]));
    return { submit, finalize };
  }

  it("costs the same for ten jobs and for ten thousand, below 250,000 gas with its finalisation", async (t) => {
    const cold = await cycle(10);
    t.diagnostic(`first round of the ring: ${cold.submit} + ${cold.finalize}`);
    while (height < 64n) await cycle(1);
    const few = await cycle(10);
    const many = await cycle(10_000);
    t.diagnostic(`10 jobs: ${few.submit} + ${few.finalize}; 10,000 jobs: ${many.submit} + ${many.finalize}`);
    const [a, b] = [few, many].map(({ submit, finalize }) => Number(submit + finalize));
    assert.ok(Math.abs(a - b) / a < 0.01, `${a} and ${b}`);
    assert.ok(Math.max(a, b, Number(cold.submit + cold.finalize)) < 250_000, `${a} and ${b}`);
  });
});
