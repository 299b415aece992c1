import assert from "node:assert/strict";
import { after, describe, it } from "node:test";
import fc from "fast-check";
import { toHex } from "../../../operator/protocol/bytes.ts";
import { chooseKeccak, keccak } from "../../../operator/protocol/keccak.ts";

describe("keccak", () => {
  after(() => chooseKeccak("webassembly"));

  for (const kind of ["webassembly", "javascript"] as const) {
    it(`gives Ethereum's keccak-256 by ${kind}`, () => {
      assert.ok(chooseKeccak(kind));
      assert.equal(
        toHex(keccak(new Uint8Array())),
        "0xc5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470",
      );
      assert.equal(
        toHex(keccak(new TextEncoder().encode("abc"))),
        "0x4e03657aea45a94fc7d47ba826c8d667c0d1e6e33a64a036ec44f58fa12d6c45",
      );
    });
  }

  it("gives the same bytes by WebAssembly and by JavaScript at every length around a block", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 600 }), (data) => {
        chooseKeccak("webassembly");
        const fast = keccak(data);
        chooseKeccak("javascript");
        assert.deepEqual(keccak(data), fast);
      }),
      { numRuns: 300 },
    );
  });

  it("gives results that a later call does not overwrite", () => {
    chooseKeccak("webassembly");
    const first = keccak(Uint8Array.of(1));
    const copy = first.slice();
    keccak(Uint8Array.of(2));
    assert.deepEqual(first, copy);
  });
});
