import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { addressOf, recoverSigner, signDigest } from "../../../operator/protocol/signature.ts";
import { SignerRecovery } from "../../../operator/settlement/recovery/signer-recovery.ts";
import { diceOf } from "../protocol/dice.ts";

describe("signers recovered beside the main thread", () => {
  it("are those that recovering here gives, in the order of the questions, for good and for bad signatures", async () => {
    const dice = diceOf(71);
    const key = dice.bytes(32);
    const questions = Array.from({ length: 200 }, (_, i) => {
      const digest = dice.bytes(32);
      const signature = signDigest(digest, key);
      if (i % 3 === 1) signature[dice.between(0, 64)] ^= 1 << dice.between(0, 7);
      if (i % 7 === 1) return { digest, signature: signature.subarray(1) };
      return { digest, signature };
    });
    for (const processors of [1, 2]) {
      const recovery = new SignerRecovery(processors);
      const order: number[] = [];
      const signers = await Promise.all(
        questions.map(async ({ digest, signature }, i) => {
          const signer = await recovery.recover(digest, signature);
          if (signature.length === 65) order.push(i);
          return signer;
        }),
      );
      assert.deepEqual(
        signers,
        questions.map(({ digest, signature }) => recoverSigner(digest, signature)),
      );
      assert.equal(signers[0], addressOf(key));
      assert.deepEqual(
        order,
        [...order].sort((a, b) => a - b),
      );
      assert.equal(recovery.isThreaded, processors > 1);
    }
  });
});
