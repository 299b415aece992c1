import assert from "node:assert/strict";
import { test } from "node:test";
import { tokenBytes } from "../../../../operator/engine/sampling/token-bytes.ts";

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

test("byte-level tokens are the bytes behind their stand-ins", () => {
  const { bytes } = tokenBytes(
    {
      decoder: { type: "ByteLevel" },
      model: { vocab: { Ġhi: 0, âĤ: 1, "¬": 2, Ċ: 3 } },
      added_tokens: [
        { id: 4, content: "<|end|>", special: true },
        { id: 5, content: "<tool>", special: false },
      ],
    },
    8,
  );
  assert.equal(text(bytes[0]), " hi");
  assert.equal(text(Uint8Array.of(...bytes[1], ...bytes[2])), "€");
  assert.equal(text(bytes[3]), "\n");
  assert.equal(bytes[4].length, 0, "special tokens are not text");
  assert.equal(text(bytes[5]), "<tool>");
  assert.equal(bytes[7].length, 0, "ids beyond the vocabulary are empty");
});

test("SentencePiece tokens give spaces for their marks and single bytes for byte tokens", () => {
  const decoder = {
    type: "Sequence",
    decoders: [
      { type: "Replace", pattern: { String: "▁" }, content: " " },
      { type: "ByteFallback" },
      { type: "Fuse" },
      { type: "Strip", content: " ", start: 1, stop: 0 },
    ],
  };
  const { bytes, dropFirstSpace } = tokenBytes({ decoder, model: { vocab: { "▁a▁b": 0, "<0xE2>": 1 } } }, 2);
  assert.equal(text(bytes[0]), " a b");
  assert.deepEqual([...bytes[1]], [0xe2]);
  assert.equal(dropFirstSpace, false);
});

test("word-level tokens are words with a space before them, word pieces go on without one", () => {
  const words = tokenBytes({ decoder: null, model: { vocab: { red: 0 } } }, 1);
  assert.equal(text(words.bytes[0]), " red");
  assert.equal(words.dropFirstSpace, true);
  const pieces = tokenBytes({ decoder: { type: "WordPiece", prefix: "##" }, model: { vocab: { re: 0, "##d": 1 } } }, 2);
  assert.equal(text(pieces.bytes[0]) + text(pieces.bytes[1]), " red");
});

test("unigram vocabularies are lists whose places are the ids", () => {
  const { bytes } = tokenBytes(
    {
      decoder: { type: "Metaspace" },
      model: {
        vocab: [
          ["<unk>", 0],
          ["▁x", -1],
        ],
      },
    },
    2,
  );
  assert.equal(text(bytes[1]), " x");
});
