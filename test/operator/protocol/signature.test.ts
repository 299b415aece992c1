import assert from "node:assert/strict";
import { afterEach, describe, it } from "node:test";
import { recoverAddress } from "ethers";
import fc from "fast-check";
import { fromHex, toHex } from "../../../operator/protocol/bytes.ts";
import { addressOf, chooseCurve, recoverSigner, signDigest } from "../../../operator/protocol/signature.ts";

const ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;
const word = (value: bigint) => fromHex(`0x${value.toString(16).padStart(64, "0")}`);
const joined = (r: bigint, s: bigint, v: number) => Uint8Array.from([...word(r), ...word(s), v]);
const split = (signature: Uint8Array) => ({
  r: BigInt(toHex(signature.subarray(0, 32))),
  s: BigInt(toHex(signature.subarray(32, 64))),
  v: signature[64],
});

const bytes32 = fc.uint8Array({ minLength: 32, maxLength: 32 });
const privateKey = bytes32.filter((key) => key.some((byte) => byte > 0) && BigInt(toHex(key)) < ORDER);

describe("signatures", () => {
  afterEach(() => chooseCurve("webassembly"));

  it("are recovered and made alike by WebAssembly and by JavaScript, and as ethers recovers them", () => {
    fc.assert(
      fc.property(bytes32, privateKey, (digest, key) => {
        assert.ok(chooseCurve("webassembly"));
        const signature = signDigest(digest, key);
        const signer = recoverSigner(digest, signature);
        assert.equal(signer, addressOf(key));
        chooseCurve("javascript");
        assert.deepEqual(signDigest(digest, key), signature);
        assert.equal(recoverSigner(digest, signature), signer);
        assert.equal(addressOf(key), signer);
        assert.equal(recoverAddress(toHex(digest), toHex(signature)).toLowerCase(), signer);
      }),
      { numRuns: 25 },
    );
  });

  const digest = fromHex(`0x${"11".repeat(32)}`);
  const good = split(signDigest(digest, new Uint8Array(32).fill(7)));
  const half = ORDER / 2n;
  const refused: [string, Uint8Array][] = [
    ["with s in the upper half", joined(good.r, ORDER - good.s, 55 - good.v)],
    ["with s just above half of the order", joined(good.r, half + 1n, good.v)],
    ["with s zero", joined(good.r, 0n, good.v)],
    ["with r zero", joined(0n, good.s, good.v)],
    ["with r at the order", joined(ORDER, good.s, good.v)],
    ["with r above the order", joined(2n ** 256n - 1n, good.s, good.v)],
    ["with an r that is no abscissa of the curve", joined(5n, good.s, good.v)],
    ["with v 0", joined(good.r, good.s, 0)],
    ["with v 1", joined(good.r, good.s, 1)],
    ["with v 26", joined(good.r, good.s, 26)],
    ["with v 29", joined(good.r, good.s, 29)],
    ["of 64 bytes", joined(good.r, good.s, 27).slice(0, 64)],
    ["of 66 bytes", Uint8Array.from([...joined(good.r, good.s, 27), 0])],
    ["that is empty", new Uint8Array()],
  ];
  for (const kind of ["webassembly", "javascript"] as const) {
    for (const [name, signature] of refused) {
      it(`are refused ${name} (${kind})`, () => {
        chooseCurve(kind);
        assert.equal(recoverSigner(digest, signature), undefined);
      });
    }
  }

  it("get the same answer from both for random bytes", () => {
    fc.assert(
      fc.property(bytes32, bytes32, bytes32, fc.constantFrom(27, 28), (message, r, s, v) => {
        const low = s.slice();
        low[0] &= 0x7f;
        const signature = Uint8Array.from([...r, ...low, v]);
        chooseCurve("webassembly");
        const fast = recoverSigner(message, signature);
        chooseCurve("javascript");
        assert.equal(recoverSigner(message, signature), fast);
      }),
      { numRuns: 100 },
    );
  });
});
