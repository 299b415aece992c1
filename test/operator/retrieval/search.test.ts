import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { type DataNetIndex, openDataNetIndex } from "../../../operator/retrieval/data-net-index.ts";
import type { AcceptedContribution, EmbeddingFunction } from "../../../operator/retrieval/data-net-input.ts";
import { ingestDataNet } from "../../../operator/retrieval/ingest.ts";
import { rankByWords } from "../../../operator/retrieval/rank.ts";
import { search } from "../../../operator/retrieval/search.ts";
import { wordsOf } from "../../../operator/retrieval/words.ts";
import { pdfFile } from "./pdf-file.ts";

const document = (path: string, text: string | Buffer) => ({ path, bytes: Buffer.from(text) });

/** Words counted into buckets: a real, if poor, embedding. */
const bagOfWords: EmbeddingFunction = {
  name: "bag-of-words-64",
  dimensions: 64,
  embed: async (texts) =>
    texts.map((text) => {
      const vector = new Float32Array(64).fill(0.01);
      for (const word of wordsOf(text)) {
        let hash = 7;
        for (const letter of word) hash = (hash * 31 + letter.charCodeAt(0)) % 64;
        vector[hash] += 1;
      }
      return vector;
    }),
};

describe("Search over DataNets", () => {
  let directory: string;
  const open: DataNetIndex[] = [];
  before(() => {
    directory = mkdtempSync(join(tmpdir(), "retrieval-"));
  });
  after(() => {
    for (const index of open) index.close();
    rmSync(directory, { recursive: true, force: true });
  });

  let nextDataNet = 1;
  async function indexed(contributions: AcceptedContribution[], embedding?: EmbeddingFunction) {
    const dataNet = nextDataNet++;
    const report = await ingestDataNet({
      directory,
      dataNet,
      version: 1,
      contributions,
      ...(embedding && { embedding }),
    });
    const index = openDataNetIndex(directory, dataNet, 1);
    open.push(index);
    return { index, report };
  }

  const otters = {
    contribution: 11,
    documents: [document("otters.md", "# Otters\nSea otters sleep wrapped in kelp.")],
  };
  const bees = { contribution: 12, documents: [document("bees.txt", "Bees dance to show where nectar is.")] };
  const tides = { contribution: 13, documents: [document("tides.jsonl", '{"fact":"The moon pulls the tides."}\n')] };

  test("a question finds the passage with its source, and the range slices the contributed bytes", async () => {
    const { index } = await indexed([tides, bees, otters]);
    const [hit, ...rest] = await search([index], "When do otters sleep?");
    assert.equal(rest.length, 0);
    const { score, ...passage } = hit;
    assert.ok(score > 0);
    assert.deepEqual(passage, {
      dataNet: index.dataNet,
      version: 1,
      contribution: 11,
      path: "otters.md",
      start: 0,
      end: 42,
      rangeOver: "source",
      headings: ["Otters"],
      text: "# Otters\nSea otters sleep wrapped in kelp.",
      duplicateOf: undefined,
    });
    assert.equal(Buffer.from(otters.documents[0].bytes).subarray(hit.start, hit.end).toString(), hit.text);
  });

  test("passages of HTML and PDF slice the extracted text, which the index keeps", async () => {
    const contributions = [
      { contribution: 3, documents: [document("a.html", "<h1>Kelp</h1><p>Kelp  grows <i>fast</i>.")] },
      { contribution: 4, documents: [document("b.pdf", pdfFile([["Nori is a seaweed too."]]))] },
    ];
    const { index } = await indexed(contributions);
    for (const [query, text] of [
      ["fast", "Kelp\n\nKelp grows fast."],
      ["nori", "Nori is a seaweed too."],
    ]) {
      const [hit] = await search([index], query);
      assert.equal(hit.text, text);
      assert.equal(hit.rangeOver, "extracted");
      const { id } = index.documents().find(({ path }) => path === hit.path)!;
      assert.equal(index.documentBytes(id, hit.start, hit.end).toString(), text);
    }
  });

  test("scores are BM25 over all indexes together, computed here the long way", async () => {
    const words = ["kelp", "sea", "moon", "salt", "crab", "tide"];
    const texts = Array.from({ length: 60 }, (_, i) =>
      Array.from({ length: 5 + ((i * 7) % 30) }, (_, j) => words[(i * i + j * (i + 3)) % words.length] + (j % 4)).join(
        " ",
      ),
    );
    const split = (from: number, to: number): AcceptedContribution[] =>
      texts.slice(from, to).map((text, i) => ({ contribution: 100 + from + i, documents: [document("t.txt", text)] }));
    const { index: one } = await indexed(split(0, 20));
    const { index: two } = await indexed(split(20, 60));

    const query = "kelp0 tide1 salt2 kelp0 unknown";
    const lengths = texts.map((text) => text.split(" ").length);
    const average = lengths.reduce((sum, length) => sum + length) / texts.length;
    const expected = texts.map((text, i) => {
      let score = 0;
      for (const term of new Set(query.split(" "))) {
        const having = texts.filter((other) => other.split(" ").includes(term)).length;
        const count = text.split(" ").filter((word) => word === term).length;
        const rarity = Math.log(1 + (texts.length - having + 0.5) / (having + 0.5));
        score += (rarity * count * 2.2) / (count + 1.2 * (0.25 + (0.75 * lengths[i]) / average));
      }
      return { contribution: 100 + i, score };
    });
    expected.sort((a, b) => b.score - a.score || a.contribution - b.contribution);

    const found = rankByWords([one, two], wordsOf(query), 10);
    assert.deepEqual(
      found.map(({ index, chunk }) => [one, two][index].passage(chunk).contribution),
      expected.slice(0, 10).map((entry) => entry.contribution),
    );
    found.forEach((entry, i) => {
      assert.ok(Math.abs(entry.score - expected[i].score) < 1e-9);
    });
  });

  test("the order in which contributions and documents come makes no difference", async () => {
    const contributions = Array.from({ length: 12 }, (_, i) => ({
      contribution: i + 1,
      documents: [document("b.txt", `same words ${i}`), document("a.txt", `other same words ${i}`)],
    }));
    const { index, report } = await indexed(contributions);
    const shuffled = [...contributions]
      .reverse()
      .map((entry) => ({ ...entry, documents: [...entry.documents].reverse() }));
    const again = await ingestDataNet({ directory, dataNet: index.dataNet, version: 1, contributions: shuffled });
    const second = openDataNetIndex(directory, index.dataNet, 1);
    open.push(second);
    assert.equal(again.corpusHash, report.corpusHash);
    assert.deepEqual(await search([second], "same words"), await search([index], "same words"));
  });

  test("a document that cannot be read is reported, the others are found", async () => {
    const broken = {
      contribution: 5,
      documents: [
        document("bad.txt", Buffer.from([0x61, 0xff])),
        document("bad.pdf", "%PDF-1.7"),
        document("bad.exe", "MZ"),
        document("good.txt", "Walrus tusks are teeth."),
        document("good.txt", "The same path again."),
      ],
    };
    const { index, report } = await indexed([broken, otters]);
    assert.deepEqual(
      report.documents.map((outcome) => [outcome.path, "refused" in outcome ? outcome.refused : outcome.chunks]),
      [
        ["bad.exe", "format"],
        ["bad.pdf", "broken"],
        ["bad.txt", "encoding"],
        ["good.txt", 1],
        ["good.txt", "broken"],
        ["otters.md", 1],
      ],
    );
    assert.equal((await search([index], "walrus"))[0].contribution, 5);
  });

  test("an ingest that is stopped leaves no index and no remains", async () => {
    const dataNet = nextDataNet++;
    const failing = { contribution: 1, documents: [{ path: "a.txt", bytes: () => Promise.reject(new Error("gone")) }] };
    await assert.rejects(ingestDataNet({ directory, dataNet, version: 1, contributions: [otters, failing] }), /gone/);
    const signal = AbortSignal.abort(new Error("stopped"));
    await assert.rejects(ingestDataNet({ directory, dataNet, version: 1, contributions: [otters], signal }), /stopped/);
    assert.throws(() => openDataNetIndex(directory, dataNet, 1), /there is none/);
    assert.deepEqual(
      readdirSync(directory).filter((name) => name.startsWith(`${dataNet}-`)),
      [],
    );
  });

  test("vectors find what words do not, and another embedding function is refused", async () => {
    const { index } = await indexed([otters, bees, tides], bagOfWords);
    const hits = await search([index], "bees nectar", { embedding: bagOfWords, limit: 3 });
    assert.equal(hits.length, 3);
    assert.equal(hits[0].contribution, 12);
    assert.equal((await search([index], "bees nectar", { limit: 3 })).length, 1);
    await assert.rejects(search([index], "x", { embedding: { ...bagOfWords, name: "other" } }), /other/);
  });

  const original =
    "Sea otters hold hands while they sleep so that they do not drift apart, and they wrap themselves in strands of kelp " +
    "that reach up from the sea floor. A group of resting otters is called a raft and may count a hundred animals.";

  test("a copy tuned to the question brings up what it copies, first registered first", async () => {
    const copies = Array.from({ length: 12 }, (_, i) => ({
      contribution: 50 + i,
      documents: [document("copy.txt", `${original.replace("hundred", `hundred or ${i}`)} otters otters sleep sleep`)],
    }));
    const { index, report } = await indexed([
      { contribution: 20, documents: [document("o.txt", original)] },
      { contribution: 30, documents: [document("b.txt", "Otters eat urchins; beavers sleep in lodges of wood.")] },
      ...copies,
    ]);
    assert.equal(report.nearDuplicates, 12);
    const hits = await search([index], "where do otters sleep", { limit: 3 });
    assert.deepEqual(
      hits.map(({ contribution, duplicateOf }) => [contribution, duplicateOf]),
      [
        [20, undefined],
        [hits[1].contribution, 20],
        [30, undefined],
      ],
    );
  });

  test("a copy in another DataNet is pooled with its original", async () => {
    const { index: first } = await indexed([{ contribution: 20, documents: [document("o.txt", original)] }]);
    const { index: second } = await indexed([
      { contribution: 21, documents: [document("c.txt", `${original} otters`)] },
    ]);
    const hits = await search([second, first], "otters");
    assert.deepEqual(
      hits.map(({ contribution, duplicateOf }) => [contribution, duplicateOf]),
      [
        [20, undefined],
        [21, 20],
      ],
    );
  });

  test("texts of one contribution and texts that share a subject are no copies", async () => {
    const { report } = await indexed([
      { contribution: 1, documents: [document("a.txt", original), document("b.txt", original)] },
      { contribution: 2, documents: [document("a.txt", "Sea otters sleep in kelp, and some of them hold hands.")] },
    ]);
    assert.equal(report.nearDuplicates, 0);
  });
});
