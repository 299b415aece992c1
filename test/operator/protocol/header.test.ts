import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { decodeHeader, encodeHeader, HEADER_BYTES, headerHash } from "../../../operator/protocol/header.ts";
import { keccak } from "../../../operator/protocol/keccak.ts";
import { openStory, tellBatch } from "./jobs.ts";
import { createWorld } from "./world.ts";

const { header } = tellBatch(openStory(createWorld({ seed: 2 })), 3).batch;

describe("a batch's header", () => {
  it("goes to bytes and back, and its hash is that of a tag and these bytes", () => {
    const bytes = encodeHeader(header);
    assert.equal(bytes.length, HEADER_BYTES);
    assert.deepEqual(decodeHeader(bytes), header);
    assert.deepEqual(headerHash(header), keccak(Uint8Array.from([7, ...bytes])));
  });

  it("is refused when a byte is missing or too many", () => {
    const bytes = encodeHeader(header);
    assert.throws(() => decodeHeader(bytes.slice(1)), { name: "MalformedBytes" });
    assert.throws(() => decodeHeader(Uint8Array.from([...bytes, 0])), { name: "MalformedBytes" });
  });

  it("has another hash when any field changes", () => {
    const hash = headerHash(header);
    for (const change of [
      { operator: 2 },
      { sequence: 9n },
      { height: 9n },
      { registryTime: 9 },
      { count: 9 },
      { state: { ...header.state, totalSpent: 9n } },
    ]) {
      assert.notDeepEqual(headerHash({ ...header, ...change }), hash);
    }
  });
});
