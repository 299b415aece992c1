import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { TypedDataEncoder } from "ethers";
import fc from "fast-check";
import { hashTypedData } from "viem";
import { toHex } from "../../../operator/protocol/bytes.ts";
import {
  domainSeparator,
  VOUCHER_DOMAIN_NAME,
  VOUCHER_DOMAIN_VERSION,
  VOUCHER_FIELDS,
  voucherDigest,
} from "../../../operator/protocol/voucher.ts";

const u = (bits: number) => fc.bigInt({ min: 0n, max: 2n ** BigInt(bits) - 1n });
const u32 = fc.integer({ min: 0, max: 2 ** 32 - 1 });
const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });

describe("a voucher's digest", () => {
  it("is the one that viem and ethers compute", () => {
    const voucher = fc.record({
      channel: u32,
      nonce: u(64),
      agent: u32,
      version: u32,
      requestHash: bytes(32),
      maxPrice: u(128),
      cap: u(128),
      expiry: u(64),
    });
    fc.assert(
      fc.property(voucher, u(53), bytes(20), (message, chainId, contract) => {
        const verifyingContract = toHex(contract);
        const domain = { name: VOUCHER_DOMAIN_NAME, version: VOUCHER_DOMAIN_VERSION, chainId, verifyingContract };
        const typed = { ...message, requestHash: toHex(message.requestHash) };
        const digest = toHex(voucherDigest(domainSeparator({ chainId, verifyingContract }), message));
        const types = { Voucher: VOUCHER_FIELDS };
        assert.equal(hashTypedData({ domain, types, primaryType: "Voucher", message: typed }), digest);
        assert.equal(TypedDataEncoder.hash(domain, { Voucher: [...VOUCHER_FIELDS] }, typed), digest);
      }),
      { numRuns: 100 },
    );
  });

  it("refuses fields that do not fit", () => {
    const separator = new Uint8Array(32);
    const voucher = {
      channel: 1,
      nonce: 1n,
      agent: 1,
      version: 1,
      requestHash: new Uint8Array(32),
      maxPrice: 1n,
      cap: 1n,
      expiry: 1n,
    };
    voucherDigest(separator, voucher);
    for (const wrong of [
      { channel: 2 ** 32 },
      { channel: -1 },
      { nonce: 2n ** 64n },
      { cap: 2n ** 128n },
      { cap: -1n },
      { requestHash: new Uint8Array(31) },
    ]) {
      assert.throws(() => voucherDigest(separator, { ...voucher, ...wrong }), { name: "MalformedBytes" });
    }
  });
});
