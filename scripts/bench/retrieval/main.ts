// What ingest and search cost, and what SQLite's own full-text index costs on the same chunks in the same run.
//   npx node scripts/bench/retrieval/main.ts [--chunks 50000] [--json]
import { mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { parseArgs } from "node:util";
import { openDataNetIndex } from "../../../operator/retrieval/data-net-index.ts";
import { ingestDataNet } from "../../../operator/retrieval/ingest.ts";
import { rankByWords } from "../../../operator/retrieval/rank.ts";
import { search } from "../../../operator/retrieval/search.ts";
import { wordsOf } from "../../../operator/retrieval/words.ts";
import { uniform, xorshift32, zipf } from "../random.ts";

const { values } = parseArgs({
  options: { json: { type: "boolean", default: false }, chunks: { type: "string", default: "50000" } },
});
const WORDS_PER_CHUNK = 120;
const QUERIES = 40;
const CHUNKS_PER_CONTRIBUTION = 100;
const count = Number(values.chunks);
const random = xorshift32(7);
const word = zipf(60_000, 1.05, random);
const paragraph = () => Array.from({ length: WORDS_PER_CHUNK }, () => `w${word().toString(36)}`).join(" ");

const contributions = Array.from({ length: Math.ceil(count / CHUNKS_PER_CONTRIBUTION) }, (_, i) => ({
  contribution: i + 1,
  documents: [
    {
      path: "text.txt",
      bytes: Buffer.from(Array.from({ length: CHUNKS_PER_CONTRIBUTION }, paragraph).join("\n\n")),
    },
  ],
}));
// Two common, two middling and two rare words each.
const queries = Array.from({ length: QUERIES }, () =>
  [30, 30, 1500, 1500, 30_000, 30_000].map((range) => `w${Math.floor(uniform(random) * range).toString(36)}`).join(" "),
);

const directory = mkdtempSync(join(tmpdir(), "bench-retrieval-"));
try {
  let started = performance.now();
  const report = await ingestDataNet({ directory, dataNet: 1, version: 1, contributions });
  const ingestMs = performance.now() - started;
  const index = openDataNetIndex(directory, 1, 1);
  const folder = join(directory, "1-1");
  const indexBytes = readdirSync(folder).reduce((sum, name) => sum + statSync(join(folder, name)).size, 0);

  started = performance.now();
  const full = new DatabaseSync(join(directory, "fts5.sqlite"));
  full.exec("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; CREATE VIRTUAL TABLE t USING fts5(x); BEGIN");
  const insert = full.prepare("INSERT INTO t (rowid, x) VALUES (?, ?)");
  for (let chunk = 0; chunk < index.chunks; chunk++) insert.run(chunk + 1, index.passage(chunk).text);
  full.exec("COMMIT; INSERT INTO t(t) VALUES ('optimize')");
  const fts5BuildMs = performance.now() - started;
  const select = full.prepare(
    "SELECT rowid, bm25(t, 1.0) AS score FROM t WHERE t MATCH ? ORDER BY rank, rowid LIMIT 100",
  );

  const own = times(() => (query) => rankByWords([index], wordsOf(query), 100));
  const fts5 = times(() => (query) => select.all(wordsOf(query).join(" OR ")));
  const whole: number[] = [];
  for (const query of queries) {
    const begun = performance.now();
    await search([index], query);
    whole.push(performance.now() - begun);
  }
  let agreed = 0;
  for (const query of queries) {
    const mine = new Set(rankByWords([index], wordsOf(query), 10).map(({ chunk }) => chunk + 1));
    for (const row of select.all(wordsOf(query).join(" OR ")).slice(0, 10))
      if (mine.has(row.rowid as number)) agreed += 1;
  }
  const figures = {
    chunks: report.chunks,
    ingestMs: Math.round(ingestMs),
    chunksPerSecond: Math.round((report.chunks / ingestMs) * 1000),
    indexBytesPerTextByte: round(
      indexBytes / contributions.reduce((sum, { documents }) => sum + documents[0].bytes.length, 0),
    ),
    rankMs: { p50: quantile(own, 0.5), p99: quantile(own, 0.99) },
    searchMs: { p50: quantile(whole, 0.5), p99: quantile(whole, 0.99) },
    fts5: { buildMs: Math.round(fts5BuildMs), rankMs: { p50: quantile(fts5, 0.5), p99: quantile(fts5, 0.99) } },
    top10SharedWithFts5: round(agreed / (10 * QUERIES)),
    peakMemoryMb: Math.round(process.resourceUsage().maxRSS / 1024),
  };
  if (values.json) console.log(JSON.stringify(figures));
  else console.dir(figures, { depth: 3 });
  index.close();
  full.close();
} finally {
  rmSync(directory, { recursive: true, force: true });
}

function times(prepare: () => (query: string) => unknown): number[] {
  const run = prepare();
  for (const query of queries) run(query);
  return queries.map((query) => {
    const begun = performance.now();
    run(query);
    return performance.now() - begun;
  });
}

function quantile(list: readonly number[], part: number): number {
  return round([...list].sort((a, b) => a - b)[Math.min(list.length - 1, Math.floor(list.length * part))]);
}

function round(value: number): number {
  return Math.round(value * 1000) / 1000;
}
