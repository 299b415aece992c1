import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { nonceIsFree, useNonce } from "../../../operator/protocol/nonce-window.ts";

describe("the window of nonces", () => {
  it("allows exactly the nonces that a list of all used ones would, within 256 of the highest", () => {
    const nonces = fc.array(fc.bigInt({ min: 0n, max: 700n }), { maxLength: 200 });
    fc.assert(
      fc.property(nonces, (sequence) => {
        let window = { top: 0n, bitmap: 0n };
        const used = new Set<bigint>();
        let top = 0n;
        for (const nonce of sequence) {
          const allowed = !used.has(nonce) && nonce + 256n > top;
          assert.equal(nonceIsFree(window, nonce), allowed);
          if (!allowed) continue;
          window = useNonce(window, nonce);
          used.add(nonce);
          if (nonce > top) top = nonce;
          assert.equal(window.top, top);
          assert.ok(window.bitmap < 2n ** 256n);
          assert.ok(!nonceIsFree(window, nonce));
        }
      }),
    );
  });

  it("takes a jump to the end of all nonces without growing", () => {
    assert.deepEqual(useNonce({ top: 5n, bitmap: 63n }, 2n ** 64n - 1n), { top: 2n ** 64n - 1n, bitmap: 1n });
  });
});
