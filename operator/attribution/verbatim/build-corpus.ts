import { closeSync, fsyncSync, mkdirSync, openSync, renameSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { setImmediate } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import { ByteOffsets } from "../../retrieval/byte-offsets.ts";
import type { DataNetIndex } from "../../retrieval/data-net-index.ts";
import { forEachWord } from "../../retrieval/words.ts";
import { type CorpusLayout, corpusFiles, corpusFilesIn } from "./corpus-files.ts";
import { SEPARATOR, wordHash } from "./word-hash.ts";

/** Words that are sorted together: about 200 MB while they are. */
const SHARD_WORDS = 8_000_000;

/**
 * Builds the suffix array over all documents of an indexed DataNet version and puts it beside the index in one step.
 * Memory is bounded by shards; sorting runs in a worker thread.
 *
 * @param shardWords Words in a shard; a document is never divided.
 */
export async function buildVerbatimCorpus(index: DataNetIndex, shardWords = SHARD_WORDS): Promise<void> {
  const { folder } = corpusFiles(index.folder);
  const building = `${folder}.building-${process.pid}`;
  rmSync(building, { recursive: true, force: true });
  mkdirSync(building, { recursive: true });
  try {
    const files = corpusFilesIn(building);
    const words = openSync(files.words, "w");
    const starts = openSync(files.starts, "w");
    const suffixes = openSync(files.suffixes, "w");
    const sorter = new SuffixSorter();
    try {
      const layout = await writeShards(index, shardWords, sorter, words, starts, suffixes);
      writeFileSync(files.layout, JSON.stringify(layout), { flush: true });
      for (const file of [words, starts, suffixes]) fsyncSync(file);
    } finally {
      await sorter.close();
      for (const file of [words, starts, suffixes]) closeSync(file);
    }
    rmSync(folder, { recursive: true, force: true });
    renameSync(building, folder);
  } finally {
    rmSync(building, { recursive: true, force: true });
  }
}

async function writeShards(
  index: DataNetIndex,
  shardWords: number,
  sorter: SuffixSorter,
  wordsFile: number,
  startsFile: number,
  suffixesFile: number,
): Promise<CorpusLayout> {
  const documents: number[] = [];
  const shards: [number, number][] = [];
  let words = 0;
  let first = 0;
  let shard = new NumberList();
  const finishShard = async () => {
    if (shard.length === 0) return;
    const hashes = shard.take();
    const sorted = await sorter.sort(hashes);
    for (let i = 0; i < sorted.length; i++) sorted[i] += first;
    writeFully(suffixesFile, sorted);
    shards.push([first, first + sorted.length]);
    first += sorted.length;
    shard = new NumberList();
  };
  for (const { id, bytes } of index.documents()) {
    const { hashes, starts } = wordsIn(index.documentBytes(id, 0, bytes));
    if (shard.length + hashes.length > shardWords) await finishShard();
    documents.push(first + shard.length);
    words += hashes.length - 1;
    shard.append(hashes);
    writeFully(wordsFile, hashes);
    writeFully(startsFile, starts);
    await setImmediate();
  }
  await finishShard();
  documents.push(first);
  return { format: 1, corpusHash: index.corpusHash, words, shards, documents };
}

/** Hashes and first bytes of a document's words, with a separator after the last. */
function wordsIn(bytes: Buffer): { hashes: Uint32Array; starts: Uint32Array } {
  const mark = bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? 3 : 0;
  const text = bytes.toString("utf8", mark);
  const offsets = new ByteOffsets(text, mark);
  const hashes = new NumberList();
  const starts = new NumberList();
  forEachWord(text, (word, start) => {
    hashes.push(wordHash(word));
    starts.push(offsets.at(start));
    return undefined;
  });
  hashes.push(SEPARATOR);
  starts.push(bytes.length);
  return { hashes: hashes.take(), starts: starts.take() };
}

/** A worker thread that sorts one shard after another. */
class SuffixSorter {
  readonly #worker = new Worker(new URL("suffix-array-worker.ts", import.meta.url));

  sort(words: Uint32Array<ArrayBuffer>): Promise<Uint32Array> {
    const worker = this.#worker;
    return new Promise<Uint32Array>((resolve, reject) => {
      const end = () => {
        worker.off("message", sorted).off("error", failed).off("exit", ended);
      };
      const sorted = (suffixes: Int32Array) => {
        end();
        resolve(new Uint32Array(suffixes.buffer));
      };
      const failed = (error: Error) => {
        end();
        reject(error);
      };
      const ended = (code: number) => failed(new Error(`Sorting suffixes ended with code ${code}`));
      worker.on("message", sorted).on("error", failed).on("exit", ended);
      worker.postMessage(words, [words.buffer]);
    });
  }

  async close(): Promise<void> {
    await this.#worker.terminate();
  }
}

/** Numbers of 32 bits in a buffer that grows. */
class NumberList {
  #numbers = new Uint32Array(1024);
  length = 0;

  push(value: number): void {
    this.#reserve(1);
    this.#numbers[this.length++] = value;
  }

  append(values: Uint32Array): void {
    this.#reserve(values.length);
    this.#numbers.set(values, this.length);
    this.length += values.length;
  }

  take(): Uint32Array<ArrayBuffer> {
    return this.#numbers.slice(0, this.length);
  }

  #reserve(more: number): void {
    if (this.length + more <= this.#numbers.length) return;
    const grown = new Uint32Array(Math.max(2 * this.#numbers.length, this.length + more));
    grown.set(this.#numbers);
    this.#numbers = grown;
  }
}

function writeFully(file: number, numbers: Uint32Array): void {
  const bytes = new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength);
  for (let done = 0; done < bytes.length; ) done += writeSync(file, bytes, done);
}
