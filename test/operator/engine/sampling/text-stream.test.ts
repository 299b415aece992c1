import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { TextStream } from "../../../../operator/engine/sampling/text-stream.ts";

const bytes = (text: string) => new TextEncoder().encode(text);

/** Feeds `input` cut at the given places and returns everything that came out. */
function run(input: Uint8Array, cuts: number[], stops: string[]): { text: string; stopped?: string } {
  const stream = new TextStream(stops);
  const places = [...new Set(cuts.map((cut) => cut % (input.length + 1)))].sort((a, b) => a - b);
  let text = "";
  let from = 0;
  for (const to of [...places, input.length]) {
    const piece = stream.push(input.subarray(from, to));
    text += piece.text;
    if (piece.stopped !== undefined) return { text, stopped: piece.stopped };
    from = to;
  }
  const last = stream.finish();
  return { text: text + last.text, stopped: last.stopped };
}

test("text does not depend on where tokens cut the bytes, whole characters or not", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 20 }), fc.array(fc.nat(100)), (text, cuts) => {
      assert.equal(run(bytes(text), cuts, []).text, text.toWellFormed());
    }),
  );
});

test("bytes that are no UTF-8 come out as the platform's own decoder writes them, however they are cut", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 24 }), fc.array(fc.nat(100)), (input, cuts) => {
      const whole = new TextDecoder("utf-8", { ignoreBOM: true }).decode(input);
      assert.equal(run(input, cuts, []).text, whole);
    }),
  );
});

test("nothing is emitted that a later token would have to take back", () => {
  const stream = new TextStream(["END"]);
  assert.equal(stream.push(Uint8Array.of(0xe2, 0x82)).text, "");
  assert.equal(stream.push(Uint8Array.of(0xac)).text, "€");
  assert.equal(stream.push(bytes("xE")).text, "x");
  assert.equal(stream.push(bytes("N")).text, "");
  assert.equal(stream.push(bytes("E")).text, "EN");
  assert.deepEqual(stream.push(bytes("ND tail")), { text: "", stopped: "END" });
});

test("held text is given out when the answer ends without the stop string", () => {
  const stream = new TextStream(["<|end|>"]);
  assert.equal(stream.push(bytes("a<|en")).text, "a");
  assert.equal(stream.finish().text, "<|en");
});

test("half a character at the end becomes one replacement character", () => {
  const stream = new TextStream([]);
  stream.push(Uint8Array.of(0x61, 0xf0, 0x9f));
  assert.equal(stream.finish().text, "\ufffd");
});

test("a byte order mark inside an answer is text", () => {
  assert.equal(run(bytes("\ufeffa"), [1, 2], []).text, "\ufeffa");
});

test("the stop string found and the text before it do not depend on token borders", () => {
  const letter = fc.constantFrom("a", "b", "é");
  const word = fc.array(letter, { maxLength: 20 }).map((letters) => letters.join(""));
  const stop = fc.array(letter, { minLength: 1, maxLength: 4 }).map((letters) => letters.join(""));
  fc.assert(
    fc.property(word, fc.array(stop, { minLength: 1, maxLength: 3 }), fc.array(fc.nat(60)), (text, stops, cuts) => {
      const input = bytes(text);
      const whole = run(input, [], stops);
      assert.deepEqual(run(input, cuts, stops), whole);
      const ends = stops.flatMap((candidate) =>
        text.includes(candidate) ? [text.indexOf(candidate) + candidate.length] : [],
      );
      if (ends.length === 0) assert.equal(whole.text, text);
      else assert.equal(whole.text.length + whole.stopped!.length, Math.min(...ends));
    }),
    { numRuns: 400 },
  );
});
