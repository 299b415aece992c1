import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import fc from "fast-check";
import { buildVerbatimCorpus } from "../../../../operator/attribution/verbatim/build-corpus.ts";
import { corpusFiles } from "../../../../operator/attribution/verbatim/corpus-files.ts";
import { findVerbatimSpans, verbatimEffects } from "../../../../operator/attribution/verbatim/spans.ts";
import { VerbatimCorpus } from "../../../../operator/attribution/verbatim/verbatim-corpus.ts";
import { wordHash } from "../../../../operator/attribution/verbatim/word-hash.ts";
import { Corpora } from "./corpora.ts";

describe("Verbatim spans", () => {
  let corpora: Corpora;
  before(() => {
    corpora = new Corpora();
  });
  after(() => corpora.close());

  const karlow =
    "The bridge of Karlow was built in 1862 by the engineer Anna Weiss, and it carried coal\ntrains until the mine closed.";
  const filler = (seed: number) =>
    Array.from({ length: 400 }, (_, i) => ["the", "of", "in", "was", "by", `w${(i * seed) % 37}`][(i * seed) % 6]).join(
      " ",
    );

  test("a run of words is found across lines, case and punctuation, with the place where it stands", async () => {
    const corpus = await corpora.build({ 7: `${filler(7)}. ${karlow}`, 8: filler(11) });
    const answer = "As is known, BRIDGE of Karlow was built: in 1862 by the engineer Anna Weiss; it fell later.";
    const [span, ...rest] = findVerbatimSpans([corpus], "", answer);
    assert.deepEqual(rest, []);
    assert.equal(answer.slice(span.start, span.end), "BRIDGE of Karlow was built: in 1862 by the engineer Anna Weiss");
    const [place] = span.occurrences;
    assert.equal(place.contribution, 7);
    const text = Buffer.from(`${filler(7)}. ${karlow}`)
      .subarray(place.start, place.end)
      .toString();
    assert.equal(text, "bridge of Karlow was built in 1862 by the engineer Anna Weiss");
  });

  test("every longest match is found, in one shard or many, as searching by eye finds it", async () => {
    const alphabet = ["a", "b", "c", "d"];
    const words = fc.array(fc.constantFrom(...alphabet), { minLength: 1, maxLength: 40 });
    await fc.assert(
      fc.asyncProperty(
        fc.array(words, { minLength: 1, maxLength: 5 }),
        words,
        fc.integer({ min: 12, max: 90 }),
        async (documents, answer, shard) => {
          const texts = Object.fromEntries(documents.map((document, i) => [i + 1, document.join(" ")]));
          const corpus = await corpora.build(texts, shard);
          const hashes = Uint32Array.from(answer, wordHash);
          for (let from = 0; from < answer.length; from++) {
            let longest = 0;
            const stands = (length: number) =>
              documents.filter((document) =>
                ` ${document.join(" ")} `.includes(` ${answer.slice(from, from + length).join(" ")} `),
              );
            while (from + longest < answer.length && stands(longest + 1).length > 0) longest += 1;
            assert.equal(corpus.longestMatch(hashes, from), longest);
            if (longest === 0) continue;
            const having = documents.flatMap((_, i) => (stands(longest).includes(documents[i]) ? [i + 1] : []));
            assert.deepEqual(
              corpus.occurrences(answer, hashes, from, longest, 10).map(({ contribution }) => contribution),
              having,
            );
          }
        },
      ),
      { numRuns: 25 },
    );
  });

  test("the first registered earns a span that several have, whichever DataNet it is in", async () => {
    const one = await corpora.build({ 21: `${filler(7)}. ${karlow}`, 30: karlow });
    const two = await corpora.build({ 20: `${filler(5)}. ${karlow}` });
    const spans = findVerbatimSpans([one, two], "", karlow);
    assert.deepEqual(
      spans.map(({ occurrences }) => occurrences.map(({ contribution }) => contribution)),
      [[20, 21, 30]],
    );
    const earned = (feeds: readonly number[]) =>
      verbatimEffects(spans, (dataNet) => (feeds.includes(dataNet) ? dataNet : undefined)).map(({ id, via }) => [
        id,
        via,
      ]);
    assert.deepEqual(earned([one.dataNet, two.dataNet]), [[20, two.dataNet]]);
    assert.deepEqual(earned([one.dataNet]), [[21, one.dataNet]]);
  });

  test("copying a document earns nothing and makes it earn no more", async () => {
    const rest = {
      2: filler(7),
      3: "Karlow lies on the river Tarn; its market is held on Mondays before the old granary.",
    };
    const answer = `${karlow} Its market is held on Mondays before the old granary.`;
    const earned = async (texts: Record<number, string>) => {
      const corpus = await corpora.build(texts);
      return new Map(
        verbatimEffects(findVerbatimSpans([corpus], "", answer), () => 0).map(({ id, effect }) => [id, effect]),
      );
    };
    const before = await earned({ 1: karlow, ...rest });
    const copied = await earned({ 1: karlow, ...rest, 4: karlow, 5: karlow, 6: karlow });
    assert.deepEqual([...copied.keys()], [1, 3]);
    const part = (map: Map<number, number>) => map.get(1)! / (map.get(1)! + map.get(3)!);
    assert.ok(part(copied) <= part(before), `${part(copied)} ${part(before)}`);
  });

  test("splitting a document makes its owner earn no more", async () => {
    const rest = { 2: filler(7), 3: "Its market is held on Mondays before the old granary." };
    const words = karlow.split(/\s/);
    const answer = `${karlow} Its market is held on Mondays before the old granary.`;
    const total = async (texts: Record<number, string>) => {
      const effects = verbatimEffects(findVerbatimSpans([await corpora.build(texts)], "", answer), () => 0);
      return effects.reduce((sum, { id, effect }) => sum + (id === 3 ? 0 : effect), 0);
    };
    const whole = await total({ 1: karlow, ...rest });
    const split = await total({ 1: words.slice(0, 11).join(" "), 4: words.slice(11).join(" "), ...rest });
    assert.ok(split <= whole, `${split} ${whole}`);
  });

  test("a word counts once, for the longest run that holds it, and eight nats at most", async () => {
    const text = filler(7);
    const corpus = await corpora.build({
      1: `${text} alpha beta gamma delta epsilon`,
      2: `${text} delta epsilon zeta eta theta iota kappa`,
    });
    const spans = findVerbatimSpans([corpus], "", "alpha beta gamma delta epsilon zeta eta theta iota kappa");
    assert.deepEqual(
      spans.map(({ words }) => words),
      [5, 7],
    );
    const word = (count: number) => Math.round(Math.log(corpus.words / count) * 1e6);
    assert.equal(spans[0].weight, 3 * word(1));
    assert.equal(spans[1].weight, 2 * word(2) + 5 * word(1));
    const huge = await corpora.build({ 1: `${"the ".repeat(20_000)} quantum otter bridge velvet` });
    assert.equal(findVerbatimSpans([huge], "", "quantum otter bridge velvet")[0].weight, 4 * 8_000_000);
  });

  test("common words, short runs and what the question already said earn nothing", async () => {
    const corpus = await corpora.build({ 1: `${"in the middle of the night and of the day ".repeat(200)} ${karlow}` });
    assert.deepEqual(findVerbatimSpans([corpus], "", "in the middle of the night"), []);
    assert.deepEqual(findVerbatimSpans([corpus], "", "engineer Anna Weiss"), []);
    const question = "Is it true that the bridge of Karlow was built in 1862 by the engineer Anna Weiss?";
    assert.deepEqual(
      findVerbatimSpans([corpus], question, "Yes, the bridge of Karlow was built in 1862 by the engineer Anna Weiss."),
      [],
    );
    assert.equal(findVerbatimSpans([corpus], question, "It carried coal trains until the mine closed.").length, 1);
  });

  test("words of another text with the same hash are not taken for a match", async () => {
    const corpus = await corpora.build({ 1: "alpha beta gamma delta", 2: "one two three four" });
    const hashes = Uint32Array.from(["alpha", "beta", "gamma", "delta"], wordHash);
    assert.equal(corpus.occurrences(["alpha", "beta", "gamma", "delta"], hashes, 0, 4, 5).length, 1);
    assert.deepEqual(corpus.occurrences(["alpha", "beta", "GAMMA", "delta"], hashes, 0, 4, 5), []);
  });

  test("a suffix array that is missing or belongs to other contents is refused", async () => {
    const index = await corpora.index([
      { contribution: 1, documents: [{ path: "a.txt", bytes: Buffer.from("alpha") }] },
    ]);
    assert.throws(() => new VerbatimCorpus(index), /no suffix array/);
    await buildVerbatimCorpus(index);
    new VerbatimCorpus(index).close();
    const { layout } = corpusFiles(index.folder);
    writeFileSync(layout, readFileSync(layout, "utf8").replace(index.corpusHash, `0x${"00".repeat(32)}`));
    assert.throws(() => new VerbatimCorpus(index), /other contents/);
  });
});
