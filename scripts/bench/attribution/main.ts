// What measuring an answer costs beside generating it (15m shape, exact mode), and what the suffix array costs.
//   npx node scripts/bench/attribution/main.ts [--words 1000000] [--json]
import { mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { attribute } from "../../../operator/attribution/attribute.ts";
import type { TraceInputs } from "../../../operator/attribution/trace.ts";
import { renderPrompt, type TracedPrompt } from "../../../operator/attribution/traced-prompt.ts";
import { buildVerbatimCorpus } from "../../../operator/attribution/verbatim/build-corpus.ts";
import { corpusFiles } from "../../../operator/attribution/verbatim/corpus-files.ts";
import { findVerbatimSpans } from "../../../operator/attribution/verbatim/spans.ts";
import { VerbatimCorpus } from "../../../operator/attribution/verbatim/verbatim-corpus.ts";
import { startEmbeddedEngine } from "../../../operator/engine/worker/embedded-engine.ts";
import { openDataNetIndex } from "../../../operator/retrieval/data-net-index.ts";
import { ingestDataNet } from "../../../operator/retrieval/ingest.ts";
import { xorshift32, zipf } from "../random.ts";
import { benchCache, modelFolder } from "../shapes.ts";

const { values } = parseArgs({
  options: { json: { type: "boolean", default: false }, words: { type: "string", default: "1000000" } },
});
const SOURCES = [4, 10];
const ANSWER_TOKENS = 128;
const PASSAGE_WORDS = 15;
const WORDS_PER_DOCUMENT = 20_000;
const RUNS = 3;

const random = xorshift32(11);
const draw = zipf(50_000, 1.05, random);
const words = (count: number) => Array.from({ length: count }, () => `w${draw().toString(36)}`).join(" ");

const directory = mkdtempSync(join(tmpdir(), "bench-attribution-"));
const engine = await startEmbeddedEngine({
  model: modelFolder("15m"),
  exact: true,
  cache: join(benchCache(), "graphs"),
});
try {
  const cost: Record<string, unknown> = {};
  for (const sources of SOURCES) cost[`${sources} sources`] = await contextCost(sources);
  const figures = { context: cost, verbatim: await verbatimCost(Number(values.words)) };
  if (values.json) console.log(JSON.stringify(figures));
  else console.dir(figures, { depth: 4 });
} finally {
  await engine.close();
  rmSync(directory, { recursive: true, force: true });
}

async function contextCost(count: number) {
  const generateMs: number[] = [];
  const attributeMs: number[] = [];
  let shared = 0;
  let scored = 0;
  for (let run = 0; run < RUNS; run++) {
    const sources = Array.from({ length: count }, (_, i) => ({ kind: "contribution" as const, id: i + 1, via: 0 }));
    const prompt: TracedPrompt = {
      parts: [
        ...sources.map((_, source) => ({ text: `${words(PASSAGE_WORDS)}\n`, source })),
        { text: "Question: why?" },
      ],
    };
    let started = performance.now();
    const tokens: number[] = [];
    const generated: number[] = [];
    let text = "";
    for await (const event of engine.generate({
      prompt: renderPrompt(
        prompt,
        sources.map(() => true),
      ),
      sampling: { temperature: 0 },
      maxTokens: ANSWER_TOKENS,
      ignoreEos: true,
      logprobs: 0,
    })) {
      if (event.type !== "token") continue;
      tokens.push(event.tokenId!);
      generated.push(event.logprob!.logprob);
      text += event.text;
    }
    generateMs.push(performance.now() - started);
    const inputs: TraceInputs = {
      agent: 1,
      version: 1,
      model: { name: "15m" },
      adapters: [],
      prompt,
      question: "why?",
      sources,
      answer: { text, tokens },
      corpora: [],
      measures: { context: "leave-one-out", training: "influence" },
    };
    started = performance.now();
    const { usage } = await attribute({ engine, inputs, corpora: [], generated });
    attributeMs.push(performance.now() - started);
    shared = usage.cachedTokens / usage.promptTokens;
    scored = usage.promptTokens;
  }
  const [generate, measure] = [median(generateMs), median(attributeMs)];
  return {
    generateMs: round(generate),
    attributeMs: round(measure),
    attributionCost: round(measure / generate),
    tokensScored: scored,
    tokensSharedOrCached: round(shared),
  };
}

async function verbatimCost(total: number) {
  const contributions = Array.from({ length: Math.ceil(total / WORDS_PER_DOCUMENT) }, (_, i) => ({
    contribution: i + 1,
    documents: [{ path: "a.txt", bytes: Buffer.from(words(WORDS_PER_DOCUMENT)) }],
  }));
  await ingestDataNet({ directory, dataNet: 1, version: 1, contributions });
  const index = openDataNetIndex(directory, 1, 1);
  const started = performance.now();
  await buildVerbatimCorpus(index);
  const buildMs = performance.now() - started;
  const corpus = new VerbatimCorpus(index);
  const { folder } = corpusFiles(index.folder);
  const bytes = readdirSync(folder).reduce((sum, name) => sum + statSync(join(folder, name)).size, 0);
  const searchMs: number[] = [];
  let found = 0;
  for (let i = 0; i < 20; i++) {
    const source = Buffer.from(contributions[(i * 7) % contributions.length].documents[0].bytes).toString();
    const quoted = source
      .split(" ")
      .slice(i * 50, i * 50 + 30)
      .join(" ");
    const answer = `${words(100)} ${quoted} ${words(100)}`;
    const begun = performance.now();
    found += findVerbatimSpans([corpus], "", answer).some((span) => span.words >= 30) ? 1 : 0;
    searchMs.push(performance.now() - begun);
  }
  corpus.close();
  index.close();
  return {
    words: corpus.words,
    buildMs: round(buildMs),
    wordsPerSecond: Math.round((corpus.words / buildMs) * 1000),
    bytesPerWord: round(bytes / corpus.words),
    searchMsMedian: round(median(searchMs)),
    searchMsMax: round(Math.max(...searchMs)),
    quotesFound: `${found} of 20`,
  };
}

function median(list: readonly number[]): number {
  return [...list].sort((a, b) => a - b)[list.length >> 1];
}

function round(value: number): number {
  return Math.round(value * 1000) / 1000;
}
