import { existsSync, readFileSync } from "node:fs";
import type { Hex } from "../../protocol/bytes.ts";
import { type DataNetIndex, type IndexedDocument, UnreadableIndex } from "../../retrieval/data-net-index.ts";
import { forEachWord } from "../../retrieval/words.ts";
import { type CorpusLayout, corpusFiles } from "./corpus-files.ts";
import { NumberFile } from "./number-file.ts";

/** Where a run of words stands. */
export interface Occurrence {
  readonly dataNet: number;
  readonly version: number;
  readonly contribution: number;
  readonly path: string;
  readonly rangeOver: "source" | "extracted";
  /** Bytes, `end` exclusive. */
  readonly start: number;
  readonly end: number;
}

/** Bytes that the longest word can take. */
const LONGEST_WORD_BYTES = 256;

/**
 * The suffix array over an indexed DataNet version: finds any run of words in it by binary search on disk.
 *
 * @throws {UnreadableIndex} When it was not built, or for other contents than the index has.
 */
export class VerbatimCorpus {
  readonly dataNet: number;
  readonly version: number;
  readonly corpusHash: Hex;
  /** Words in all documents. */
  readonly words: number;
  readonly #index: DataNetIndex;
  readonly #documents: readonly IndexedDocument[];
  readonly #layout: CorpusLayout;
  readonly #words: NumberFile;
  readonly #starts: NumberFile;
  readonly #suffixes: NumberFile;

  /** @param index Stays the caller's to close, after this one. */
  constructor(index: DataNetIndex) {
    const files = corpusFiles(index.folder);
    if (!existsSync(files.layout)) throw new UnreadableIndex(files.folder, "there is no suffix array");
    this.#layout = JSON.parse(readFileSync(files.layout, "utf8"));
    if (this.#layout.format !== 1 || this.#layout.corpusHash !== index.corpusHash) {
      throw new UnreadableIndex(files.folder, "the suffix array belongs to other contents");
    }
    this.#index = index;
    this.#documents = index.documents();
    this.dataNet = index.dataNet;
    this.version = index.version;
    this.corpusHash = index.corpusHash;
    this.words = this.#layout.words;
    this.#words = new NumberFile(files.words);
    this.#starts = new NumberFile(files.starts);
    this.#suffixes = new NumberFile(files.suffixes);
  }

  /** How many of the words from `from` on stand in a row somewhere. */
  longestMatch(hashes: Uint32Array, from: number): number {
    let longest = 0;
    for (const [first, end] of this.#layout.shards) {
      let low = first;
      let high = end;
      while (low < high) {
        const middle = Math.floor((low + high) / 2);
        const { order, shared } = this.#compare(this.#suffixes.at(middle), hashes, from, hashes.length - from);
        longest = Math.max(longest, shared);
        if (order < 0) low = middle + 1;
        else high = middle;
      }
    }
    return longest;
  }

  /** How often a run of words occurs. */
  count(hashes: Uint32Array, from: number, length: number): number {
    return this.#intervals(hashes, from, length).reduce((sum, [low, high]) => sum + high - low, 0);
  }

  /**
   * The first occurrence of a run of words in each contribution that has it, by contribution, at most `limit`. Text is
   * compared, not hashes alone.
   */
  occurrences(
    words: readonly string[],
    hashes: Uint32Array,
    from: number,
    length: number,
    limit: number,
  ): Occurrence[] {
    const positions: number[] = [];
    for (const [low, high] of this.#intervals(hashes, from, length)) {
      for (let i = low; i < high; i++) positions.push(this.#suffixes.at(i));
    }
    const found: Occurrence[] = [];
    const documents = this.#documents;
    // Documents are in order of registration, and so are positions.
    for (const position of Float64Array.from(positions).sort()) {
      const document = documents[this.#documentAt(position)];
      if (found.at(-1)?.contribution === document.contribution) continue;
      const start = this.#starts.at(position);
      const last = this.#starts.at(position + length - 1);
      const bytes = this.#index.documentBytes(document.id, start, Math.min(document.bytes, last + LONGEST_WORD_BYTES));
      const end = endOfRun(bytes, words.slice(from, from + length));
      if (end === undefined) continue;
      const { contribution, path, rangeOver } = document;
      const { dataNet, version } = this;
      found.push({ dataNet, version, contribution, path, rangeOver, start, end: start + end });
      if (found.length === limit) break;
    }
    return found;
  }

  close(): void {
    this.#words.close();
    this.#starts.close();
    this.#suffixes.close();
  }

  /** Order of a suffix against a run of words that is as long as `length`: 0 when it starts with the run. */
  #compare(position: number, hashes: Uint32Array, from: number, length: number): { order: number; shared: number } {
    // A separator ends every document and no run holds one, so this never reads past a document.
    for (let i = 0; i < length; i++) {
      const word = this.#words.at(position + i);
      if (word !== hashes[from + i]) return { order: word < hashes[from + i] ? -1 : 1, shared: i };
    }
    return { order: 0, shared: length };
  }

  /** For each shard the suffixes that start with a run of words. */
  #intervals(hashes: Uint32Array, from: number, length: number): [number, number][] {
    return this.#layout.shards.map(([first, end]) => {
      const bound = (above: boolean) => {
        let low = first;
        let high = end;
        while (low < high) {
          const middle = Math.floor((low + high) / 2);
          const { order } = this.#compare(this.#suffixes.at(middle), hashes, from, length);
          if (order < 0 || (above && order === 0)) low = middle + 1;
          else high = middle;
        }
        return low;
      };
      return [bound(false), bound(true)];
    });
  }

  #documentAt(position: number): number {
    const firsts = this.#layout.documents;
    let low = 0;
    let high = firsts.length - 2;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (firsts[middle] <= position) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}

/** Byte after the last of these words, when the bytes start with exactly them. */
function endOfRun(bytes: Buffer, words: readonly string[]): number | undefined {
  const text = bytes.toString("utf8");
  let at = 0;
  let end: number | undefined;
  forEachWord(text, (word, _start, wordEnd) => {
    if (word !== words[at]) return false;
    at += 1;
    if (at === words.length) end = Buffer.byteLength(text.slice(0, wordEnd));
    return at < words.length;
  });
  return end;
}
