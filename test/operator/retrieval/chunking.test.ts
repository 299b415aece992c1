import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { ByteOffsets } from "../../../operator/retrieval/byte-offsets.ts";
import { chunkBlocks } from "../../../operator/retrieval/chunking/chunk-blocks.ts";
import { scanMarkdown, scanPlainText, scanRecords } from "../../../operator/retrieval/chunking/scan-lines.ts";

const chunksOf = (text: string, maxBytes: number, scan = scanMarkdown) =>
  chunkBlocks(text, scan(text), maxBytes).map(({ start, end, headings }) => ({
    text: text.slice(start, end),
    headings,
  }));

describe("Chunking", () => {
  test("a section never shares a chunk with another, and chunks know the headings above them", () => {
    const text = "# Otters\n\n## Sleep\nIn kelp.\n\n## Food\nUrchins.\n\nCrabs.\n\nSeas\n====\nSalty.";
    assert.deepEqual(chunksOf(text, 200), [
      { text: "# Otters\n\n## Sleep\nIn kelp.", headings: ["Otters", "Sleep"] },
      { text: "## Food\nUrchins.\n\nCrabs.", headings: ["Otters", "Food"] },
      { text: "Seas\n====\nSalty.", headings: ["Seas"] },
    ]);
  });

  test("list items, paragraphs and code that fit are never cut", () => {
    const items = Array.from({ length: 20 }, (_, i) => `- item ${i} says something of its own`);
    const code = "```js\nlet a = 1;\n\n# not a heading\n```";
    const text = `${items.join("\n")}\n\n${code}\n\nThe end.`;
    const chunks = chunksOf(text, 100).map((chunk) => chunk.text);
    for (const whole of [...items, code, "The end."]) {
      assert.ok(
        chunks.some((chunk) => chunk.includes(whole)),
        whole,
      );
    }
    assert.ok(chunks.length > 5);
  });

  test("every JSONL record is a chunk of its own", () => {
    const text = '{"q":"a"}\n\n{"q":"b"}\r\n{"q":"c"}';
    assert.deepEqual(
      chunksOf(text, 1000, scanRecords).map((chunk) => chunk.text),
      ['{"q":"a"}', '{"q":"b"}', '{"q":"c"}'],
    );
  });

  test("a paragraph that is too long is cut after a sentence, else between words, else between characters", () => {
    const sentences = Array.from({ length: 12 }, (_, i) => `Sentence number ${i} ends here.`).join(" ");
    for (const chunk of chunksOf(sentences, 100, scanPlainText)) assert.match(chunk.text, /^Sentence.*here\.$/s);
    const words = "word ".repeat(60);
    for (const chunk of chunksOf(words, 50, scanPlainText)) assert.match(chunk.text, /^(word )*word$/);
    const faces = "😀".repeat(50);
    const pieces = chunksOf(faces, 30, scanPlainText).map((chunk) => chunk.text);
    assert.ok(pieces.every((piece) => piece.length === 14 || piece.length === 2));
    assert.equal(pieces.join(""), faces);
  });

  test("chunks hold every word in order, are bounded, and their byte ranges slice back to the same text", () => {
    const piece = fc.oneof(
      fc.constantFrom("# ", "## ", "\n", "\n\n", "- ", "1. ", "```\n", "| a | b |\n", ". ", "\r\n", "\t", "---\n", " "),
      fc.string({ unit: "grapheme", maxLength: 12 }),
      fc.string({ unit: "binary", maxLength: 4 }),
      fc.lorem({ maxCount: 12 }),
    );
    fc.assert(
      fc.property(
        fc.array(piece, { maxLength: 60 }),
        fc.integer({ min: 8, max: 120 }),
        fc.constantFrom(scanMarkdown, scanPlainText, scanRecords),
        (pieces, maxBytes, scan) => {
          const text = pieces.join("").toWellFormed();
          const bytes = Buffer.from(text);
          const offsets = new ByteOffsets(text);
          let seen = "";
          for (const { start, end } of chunkBlocks(text, scan(text), maxBytes)) {
            const slice = bytes.subarray(offsets.at(start), offsets.at(end));
            assert.equal(slice.toString(), text.slice(start, end));
            assert.ok(slice.length <= maxBytes);
            assert.equal(text.slice(start, end), text.slice(start, end).trim());
            seen += text.slice(start, end);
          }
          assert.equal(seen.replace(/\s/g, ""), text.replace(/\s/g, ""));
        },
      ),
      { numRuns: 500 },
    );
  });

  test("a hostile document of one endless line, or of a million headings, is chunked in linear work", () => {
    assert.equal(chunksOf("a".repeat(4_000_000), 1000).length, 4000);
    assert.equal(chunksOf("# \n".repeat(300_000), 1000).at(-1)?.headings.length, 0);
    assert.ok(chunksOf(`#${" #".repeat(2_000_000)}`, 1000).length >= 4000);
    assert.ok(chunksOf(`- ${" ".repeat(4_000_000)}x`, 1000).length >= 1);
  });
});
