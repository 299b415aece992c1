import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { ByteReader, ByteWriter, fromHex, isZero, sameBytes, toHex } from "../../../operator/protocol/bytes.ts";

const SMALL = { u8: 8, u16: 16, u24: 24, u32: 32, u40: 40 } as const;
const LARGE = { u64: 64, u96: 96, u128: 128, u256: 256 } as const;

describe("integers in bytes", () => {
  for (const [name, bits] of Object.entries(SMALL) as [keyof typeof SMALL, number][]) {
    it(`are big-endian and bounded at ${bits} bits`, () => {
      const limit = 2 ** bits;
      fc.assert(
        fc.property(fc.integer({ min: 0, max: limit - 1 }), (value) => {
          const bytes = new ByteWriter(bits / 8)[name](value).finish();
          assert.equal(Number(BigInt(toHex(bytes))), value);
          const reader = new ByteReader(bytes);
          assert.equal(reader[name](), value);
          reader.end();
        }),
      );
      for (const wrong of [-1, limit, 0.5, Number.NaN]) {
        assert.throws(() => new ByteWriter(bits / 8)[name](wrong), { name: "MalformedBytes" });
      }
    });
  }
  for (const [name, bits] of Object.entries(LARGE) as [keyof typeof LARGE, number][]) {
    it(`are big-endian and bounded at ${bits} bits`, () => {
      const limit = 2n ** BigInt(bits);
      const values = fc.oneof(fc.bigInt({ min: 0n, max: limit - 1n }), fc.constantFrom(0n, 1n, limit - 1n, limit / 2n));
      fc.assert(
        fc.property(values, (value) => {
          const bytes = new ByteWriter(bits / 8)[name](value).finish();
          assert.equal(BigInt(toHex(bytes)), value);
          const reader = new ByteReader(bytes);
          assert.equal(reader[name](), value);
          reader.end();
        }),
      );
      for (const wrong of [-1n, limit]) {
        assert.throws(() => new ByteWriter(bits / 8)[name](wrong), { name: "MalformedBytes" });
      }
    });
  }
});

describe("a reader", () => {
  it("refuses to read past the end and to leave bytes over", () => {
    assert.throws(() => new ByteReader(new Uint8Array(3)).u32(), { name: "MalformedBytes" });
    assert.throws(() => new ByteReader(new Uint8Array(3)).raw(4), { name: "MalformedBytes" });
    const reader = new ByteReader(new Uint8Array(3));
    reader.u16();
    assert.throws(() => reader.end(), { name: "MalformedBytes" });
  });

  it("reads a view in the middle of a buffer", () => {
    assert.equal(new ByteReader(Uint8Array.of(9, 9, 0, 1, 2, 9).subarray(2, 5)).u24(), 258);
  });
});

describe("a writer", () => {
  it("refuses to finish before it is full, and fixed bytes of another length", () => {
    assert.throws(() => new ByteWriter(2).u8(1).finish(), { name: "MalformedBytes" });
    assert.throws(() => new ByteWriter(4).raw(Uint8Array.of(1, 2), 4), { name: "MalformedBytes" });
  });
});

describe("hexadecimal text", () => {
  it("goes there and back", () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => assert.deepEqual(fromHex(toHex(bytes)), bytes)));
    assert.deepEqual(fromHex("0xAbCd"), Uint8Array.of(0xab, 0xcd));
  });

  it("is refused without prefix, with half a byte or with other signs", () => {
    for (const wrong of ["", "ab", "0xa", "0xzz", "0x12 "]) {
      assert.throws(() => fromHex(wrong), { name: "MalformedBytes" });
    }
  });
});

describe("comparing bytes", () => {
  it("tells length and content apart", () => {
    assert.ok(sameBytes(Uint8Array.of(1, 2), Uint8Array.of(1, 2)));
    assert.ok(!sameBytes(Uint8Array.of(1, 2), Uint8Array.of(1, 3)));
    assert.ok(!sameBytes(Uint8Array.of(1), Uint8Array.of(1, 2)));
    assert.ok(isZero(new Uint8Array(4)));
    assert.ok(!isZero(Uint8Array.of(0, 0, 1)));
  });
});
