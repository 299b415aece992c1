import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  containment,
  findOriginals,
  SIGNATURE_LENGTH,
  shinglesOf,
  signatureOf,
} from "../../../operator/retrieval/near-duplicates.ts";
import { uniform, xorshift32 } from "../../../scripts/bench/random.ts";

const random = xorshift32(5);
const prose = (words: number) => Array.from({ length: words }, () => `w${Math.floor(uniform(random) * 5_000)}`);

async function originalsOf(texts: readonly { contribution: number; text: string }[]): Promise<number[]> {
  const signatures = new Uint32Array(texts.length * SIGNATURE_LENGTH);
  texts.forEach(({ text }, i) => {
    signatures.set(signatureOf(shinglesOf(text)), i * SIGNATURE_LENGTH);
  });
  const originals = await findOriginals({
    count: texts.length,
    signatures,
    contributions: Uint32Array.from(texts, ({ contribution }) => contribution),
    shingles: (i) => shinglesOf(texts[i].text),
    pause: async () => {},
  });
  return [...originals];
}

describe("Near-duplicates", () => {
  test("case, punctuation and spacing make no difference, other words do", () => {
    const text = shinglesOf("The otter sleeps in kelp.");
    assert.deepEqual(shinglesOf("the OTTER -- sleeps\n in kelp"), text);
    assert.equal(containment(text, shinglesOf("The otter sleeps in kelp, and eats crabs.")), 1);
    assert.equal(containment(text, shinglesOf("Kelp grows fast.")), 0);
    assert.deepEqual([containment(shinglesOf("..."), text), shinglesOf("...").length], [0, 0]);
  });

  test("two signatures agree in about the part of places that is the texts' Jaccard similarity", () => {
    const base = prose(400);
    for (const kept of [1, 0.8, 0.5, 0]) {
      const [a, b] = [
        shinglesOf(base.join(" ")),
        shinglesOf([...base.slice(0, 400 * kept), ...prose(400 * (1 - kept))].join(" ")),
      ];
      const shared = containment(a, b) * a.length;
      const jaccard = shared / (a.length + b.length - shared);
      const [x, y] = [signatureOf(a), signatureOf(b)];
      const agreed = x.filter((value, i) => value === y[i]).length / SIGNATURE_LENGTH;
      // Three standard deviations of 64 draws.
      assert.ok(
        Math.abs(agreed - jaccard) <= 3 * Math.sqrt((jaccard * (1 - jaccard)) / SIGNATURE_LENGTH) + 1e-9,
        `${agreed} ${jaccard}`,
      );
    }
  });

  test("each copy points to the first registered, a copy of a copy too, own texts and strangers to none", async () => {
    const original = prose(150);
    const changed = (every: number) => original.map((word, i) => (i % every === every - 1 ? "other" : word)).join(" ");
    const texts = [
      { contribution: 1, text: prose(150).join(" ") },
      { contribution: 2, text: original.join(" ") },
      { contribution: 2, text: original.join(" ") },
      { contribution: 3, text: changed(30) },
      { contribution: 4, text: `${changed(30)} and a little more` },
      { contribution: 5, text: prose(150).join(" ") },
      { contribution: 6, text: changed(4) },
    ];
    assert.deepEqual(await originalsOf(texts), [-1, -1, -1, 1, 1, -1, -1]);
  });

  test("thousands of texts that all say the same are no more work than others", async () => {
    const text = prose(60).join(" ");
    const originals = await originalsOf(Array.from({ length: 3_000 }, (_, i) => ({ contribution: i + 1, text })));
    assert.equal(originals[0], -1);
    assert.ok(originals.slice(1).every((original) => original === 0));
  });
});
