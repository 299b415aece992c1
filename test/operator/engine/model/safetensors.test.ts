import assert from "node:assert/strict";
import { readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { ModelFormatError } from "../../../../operator/engine/model/format-error.ts";
import { SafetensorsFile } from "../../../../operator/engine/model/safetensors.ts";
import { writeSafetensors } from "../../../../operator/engine/model/safetensors-writer.ts";
import { seededRandom, temporaryFolder } from "../reference/random-model.ts";

/** A file with this header and so many bytes of data. */
function file(header: unknown, dataBytes: number, headerLength?: bigint): Uint8Array<ArrayBuffer> {
  const json = new TextEncoder().encode(typeof header === "string" ? header : JSON.stringify(header));
  const bytes = new Uint8Array(8 + json.length + dataBytes);
  new DataView(bytes.buffer).setBigUint64(0, headerLength ?? BigInt(json.length), true);
  bytes.set(json, 8);
  return bytes;
}

const entry = (shape: unknown, start: number, end: number, dtype = "F32") => ({
  dtype,
  shape,
  data_offsets: [start, end],
});
const parse = (bytes: Uint8Array<ArrayBuffer>) =>
  SafetensorsFile.over("model.safetensors", {
    size: bytes.length,
    read: (start, length) => bytes.slice(start, start + length),
    close: () => {},
  });

test("a written file is read back bit by bit, metadata included", () => {
  const path = join(temporaryFolder(), "model.safetensors");
  const a = Float32Array.of(1.5, -2, 3e-20, 4);
  const b = Float32Array.of(7);
  writeSafetensors(
    path,
    [
      { name: "a", shape: [2, 2], data: a },
      { name: "b", shape: [], data: b },
    ],
    { step: "12" },
  );
  const opened = SafetensorsFile.open(path);
  assert.deepEqual(opened.readFloats("a", [2, 2]), a);
  assert.deepEqual(opened.readFloats("b", []), b);
  assert.deepEqual({ ...opened.metadata }, { step: "12" });
  opened.close();
  assert.equal((readFileSync(path).readUInt32LE(0) + 8) % 8, 0);
});

test("bfloat16 and float16 become the float32 values they stand for", () => {
  const bytes = file({ h: entry([4], 0, 8, "F16"), b: entry([2], 8, 12, "BF16") }, 12);
  const words = new Uint16Array([0x3c00, 0xc100, 0x0001, 0x7bff, 0x3f80, 0xc0a0]);
  bytes.set(new Uint8Array(words.buffer), bytes.length - 12);
  assert.deepEqual([...parse(bytes).readFloats("h", [4])], [1, -2.5, 2 ** -24, 65504]);
  assert.deepEqual([...parse(bytes).readFloats("b", [2])], [1, -5]);
});

const LIES: [string, Uint8Array<ArrayBuffer>, RegExp][] = [
  ["an empty file", new Uint8Array(0), /no safetensors file/],
  ["a header longer than the file", file({}, 0, 1000n), /header of 1000 bytes in a file of/],
  ["a header length of 2^64 - 1", file({}, 8, 0xffffffffffffffffn), /header of 18446744073709551615/],
  ["a header length of 2^63", file({}, 8, 1n << 63n), /header of/],
  ["a header that is no JSON", file("{not json", 0), /not valid JSON/],
  ["a header that is an array", file("[1,2,3]", 0), /must be a JSON object/],
  ["a header of brackets", file("[".repeat(1_000_000), 0), /nested deeper than 3/],
  ["broken UTF-8", file({ a: 1 }, 0).map((byte) => (byte === 0x61 ? 0xff : byte)), /not valid JSON/],
  ["offsets beyond the file", file({ a: entry([4], 0, 16) }, 8), /tensors end at byte/],
  ["bytes after the last tensor", file({ a: entry([1], 0, 4) }, 8), /tensors end at byte/],
  ["overlapping tensors", file({ a: entry([2], 0, 8), b: entry([2], 4, 12) }, 12), /overlaps the tensor before it/],
  ["a hole between tensors", file({ a: entry([1], 0, 4), b: entry([1], 8, 12) }, 12), /leaves a hole before it/],
  [
    "a name that stands twice",
    file(
      '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}',
      8,
    ),
    /leaves a hole/,
  ],
  ["offsets in the wrong order", file({ a: entry([1], 4, 0) }, 4), /must be a start and an end/],
  ["a negative offset", file({ a: entry([1], -4, 0) }, 4), /must list non-negative integers/],
  ["a fractional size", file({ a: entry([1.5], 0, 6) }, 6), /must list non-negative integers/],
  ["sizes whose product overflows", file({ a: entry([2 ** 40, 2 ** 40], 0, 4) }, 4), /span 4 bytes/],
  ["sizes whose product wraps around 2^64", file({ a: entry([2 ** 32, 2 ** 32], 0, 0) }, 2), /span 0 bytes/],
  ["sizes beyond exact integers", file({ a: entry([1e300], 0, 4) }, 4), /must list non-negative integers/],
  ["an unknown type", file({ a: entry([1], 0, 4, "F31") }, 4), /"F31" is not known/],
  ["a type from the prototype", file({ a: entry([1], 0, 4, "toString") }, 4), /is not known/],
  ["an entry that is a number", file({ a: 5, b: 12345 }, 0), /must be an object/],
  ["metadata that is not text", file({ __metadata__: { a: 5 } }, 0), /must be a string/],
];

for (const [name, bytes, message] of LIES) {
  test(`refused: ${name}`, () => {
    assert.throws(
      () => parse(bytes),
      (error) => error instanceof ModelFormatError && message.test(error.message),
    );
  });
}

test("reading a tensor checks its name, shape, type and values", () => {
  const bytes = file({ a: entry([2], 0, 8), i: entry([1], 8, 12, "I32"), f: entry([2], 12, 20) }, 20);
  new DataView(bytes.buffer).setFloat32(bytes.length - 4, Number.NaN, true);
  const opened = parse(bytes);
  assert.throws(() => opened.readFloats("missing", [2]), /tensor missing is missing/);
  assert.throws(() => opened.readFloats("a", [2, 1]), /is \[2\], expected \[2,1\]/);
  assert.throws(() => opened.readFloats("i", [1]), /is I32; F32, F16 and BF16 are read/);
  assert.throws(() => opened.readFloats("f", [2]), /holds NaN at element 1/);
  assert.throws(() => opened.readFloats("toString", []), /is missing/);
});

test("a file that shrinks after it was opened is an error, not zeros", () => {
  const path = join(temporaryFolder(), "model.safetensors");
  writeFileSync(path, file({ a: entry([1000], 0, 4000) }, 4000));
  const opened = SafetensorsFile.open(path);
  truncateSync(path, 1000);
  assert.throws(() => opened.readFloats("a", [1000]), /ends at byte 1000/);
  opened.close();
  assert.throws(() => SafetensorsFile.open(path), /tensors end at byte/);
  assert.throws(() => SafetensorsFile.open(temporaryFolder()), ModelFormatError);
});

test("five thousand mutated files are read whole or refused, and never crash", () => {
  const tensors = { "model.a": entry([4, 4], 0, 64), "model.b": entry([8], 64, 80, "BF16"), c: entry([], 80, 84) };
  const original = file({ __metadata__: { format: "pt" }, ...tensors }, 84);
  const random = seededRandom(11);
  const interesting = [0, 1, 0x22, 0x2c, 0x2d, 0x30, 0x39, 0x5b, 0x5d, 0x7b, 0x7d, 0x7f, 0x80, 0xff];
  let accepted = 0;
  for (let trial = 0; trial < 5000; trial++) {
    let bytes = original.slice();
    for (let edits = 1 + Math.floor(random() * 4); edits > 0; edits--) {
      const at = Math.floor(random() * bytes.length);
      const kind = random();
      if (kind < 0.4) bytes[at] = interesting[Math.floor(random() * interesting.length)];
      else if (kind < 0.6) bytes[at] ^= 1 << Math.floor(random() * 8);
      else if (kind < 0.75) bytes = bytes.slice(0, Math.max(1, at));
      else if (kind < 0.9) bytes = Uint8Array.from([...bytes.subarray(0, at), ...bytes.subarray(at - 5), 0x39]);
      else bytes[Math.floor(random() * 8)] = Math.floor(random() * 256);
    }
    try {
      const opened = parse(bytes);
      for (const { name, shape, start, end } of opened.entries.values()) {
        assert.ok(start >= 8 && end <= bytes.length && start <= end);
        try {
          assert.equal(opened.readFloats(name, shape).every(Number.isFinite), true);
        } catch (error) {
          assert.ok(error instanceof ModelFormatError, String(error));
        }
      }
      accepted++;
    } catch (error) {
      assert.ok(error instanceof ModelFormatError, `trial ${trial}: ${error}`);
    }
  }
  // Mutations of data or of names alone leave a file that is well formed.
  assert.ok(accepted > 50 && accepted < 4500, String(accepted));
});
