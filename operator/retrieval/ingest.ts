import { mkdirSync, renameSync, rmSync } from "node:fs";
import { setImmediate } from "node:timers/promises";
import { ByteWriter, type Hex, toHex } from "../protocol/bytes.ts";
import { keccak } from "../protocol/keccak.ts";
import { ByteOffsets } from "./byte-offsets.ts";
import { chunkBlocks, type TextChunk } from "./chunking/chunk-blocks.ts";
import type { ContributedDocument, DataNetVersion, EmbeddingFunction } from "./data-net-input.ts";
import { INDEX_FORMAT, indexFiles } from "./index/index-files.ts";
import { IndexWriter } from "./index/index-writer.ts";
import { findOriginals, MOST_TEXTS, SIGNATURE_LENGTH, shinglesOf, signatureOf } from "./near-duplicates.ts";
import { DocumentReader, type ReadDocument } from "./reading/document-reader.ts";
import { DocumentRefused, type RefusalCode } from "./reading/document-refused.ts";
import { DEFAULT_READING_LIMITS, type ReadingLimits } from "./reading/reading-limits.ts";
import { unitVector } from "./vectors.ts";
import { forEachWord } from "./words.ts";

/** Bytes of text in a chunk at most: about 250 tokens of English. */
const DEFAULT_CHUNK_BYTES = 1_000;
const EMBEDDING_BATCH = 64;
/** Milliseconds of work after which other tasks of the process get a turn. */
const TURN = 15;

interface IngestOptions extends DataNetVersion {
  /** Folder that holds the indexes of all DataNet versions. */
  readonly directory: string;
  readonly embedding?: EmbeddingFunction;
  /** Default {@link DEFAULT_CHUNK_BYTES}. */
  readonly chunkBytes?: number;
  readonly limits?: Partial<ReadingLimits>;
  readonly signal?: AbortSignal;
  /** Called after every document. */
  readonly onDocument?: (outcome: DocumentOutcome) => void;
}

/** What became of one document. */
type DocumentOutcome = { readonly contribution: number; readonly path: string } & (
  | { readonly chunks: number }
  | { readonly refused: RefusalCode; readonly reason: string }
);

export interface IngestReport {
  readonly documents: readonly DocumentOutcome[];
  readonly chunks: number;
  /** Chunks that say what an earlier contribution says. */
  readonly nearDuplicates: number;
  /** Keccak-256 over ids, paths and contents of all documents given. */
  readonly corpusHash: Hex;
}

/**
 * Indexes the accepted contributions of a DataNet version and puts the index in place in one step: an interrupted
 * ingest leaves the old index, or none. A document that cannot be read is reported and left out. The index is the same
 * whatever order contributions and documents come in.
 *
 * @throws What a document's `bytes()` or the embedding function throws, errors of the file system, or the signal's reason.
 */
export async function ingestDataNet(options: IngestOptions): Promise<IngestReport> {
  const { folder } = indexFiles(options.directory, options.dataNet, options.version);
  const building = `${folder}.building-${process.pid}`;
  rmSync(building, { recursive: true, force: true });
  mkdirSync(building, { recursive: true });
  try {
    const report = await new Ingest(options, building).run();
    rmSync(folder, { recursive: true, force: true });
    renameSync(building, folder);
    return report;
  } finally {
    rmSync(building, { recursive: true, force: true });
  }
}

class Ingest {
  readonly #options: IngestOptions;
  readonly #writer: IndexWriter;
  readonly #reader: DocumentReader;
  readonly #outcomes: DocumentOutcome[] = [];
  readonly #contentHashes: Uint8Array[] = [];
  readonly #signatures: Uint32Array[] = [];
  readonly #contributions: number[] = [];
  #embedded = 0;
  #turnEnds = performance.now() + TURN;

  constructor(options: IngestOptions, folder: string) {
    this.#options = options;
    this.#reader = new DocumentReader({ ...DEFAULT_READING_LIMITS, ...options.limits });
    this.#writer = new IndexWriter(folder, options.embedding !== undefined);
  }

  async run(): Promise<IngestReport> {
    try {
      for (const { contribution, documents } of ascending(this.#options.contributions, (entry) => entry.contribution)) {
        let previous: string | undefined;
        for (const document of ascending(documents, (entry) => entry.path)) {
          await this.#document(contribution, document, document.path === previous);
          previous = document.path;
        }
      }
      await this.#embed(1);
      const nearDuplicates = await this.#findOriginals();
      const corpusHash = toHex(this.#corpusHash());
      const { dataNet, version, embedding, chunkBytes = DEFAULT_CHUNK_BYTES } = this.#options;
      this.#writer.finish({
        format: INDEX_FORMAT,
        dataNet,
        version,
        corpusHash,
        chunkBytes,
        embedding: embedding?.name ?? null,
        dimensions: embedding?.dimensions ?? 0,
      });
      return { documents: this.#outcomes, chunks: this.#contributions.length, nearDuplicates, corpusHash };
    } catch (error) {
      this.#writer.close();
      throw error;
    } finally {
      this.#reader.close();
    }
  }

  async #document(contribution: number, document: ContributedDocument, repeated: boolean): Promise<void> {
    this.#options.signal?.throwIfAborted();
    const { path, mediaType } = document;
    const bytes = typeof document.bytes === "function" ? await document.bytes() : document.bytes;
    this.#hash(contribution, path, bytes);
    let outcome: DocumentOutcome;
    try {
      if (repeated) throw new DocumentRefused("broken", "another document of this contribution has the same path");
      const read = await this.#reader.read({ path, bytes, ...(mediaType !== undefined && { mediaType }) });
      outcome = { contribution, path, chunks: await this.#index(contribution, path, read) };
    } catch (error) {
      if (!(error instanceof DocumentRefused)) throw error;
      outcome = { contribution, path, refused: error.code, reason: error.message };
      this.#writer.addRefused(contribution, path, error.code, error.message);
    }
    this.#outcomes.push(outcome);
    this.#options.onDocument?.(outcome);
    await this.#pause();
  }

  /** @returns How many chunks it gave. */
  async #index(contribution: number, path: string, read: ReadDocument): Promise<number> {
    const { text, blocks, rangeOver, bytes, first } = read;
    const chunks = chunkBlocks(text, blocks, this.#options.chunkBytes ?? DEFAULT_CHUNK_BYTES);
    if (this.#contributions.length + chunks.length > MOST_TEXTS) {
      throw new DocumentRefused("size", `with it the DataNet would have more than ${MOST_TEXTS} chunks`);
    }
    const document = this.#writer.addDocument(contribution, path, rangeOver, bytes);
    const offsets = new ByteOffsets(text, first);
    const before = this.#contributions.length;
    for (const chunk of chunks) {
      const body = text.slice(chunk.start, chunk.end);
      const { terms, words } = countTerms(chunk, body);
      // Rules and dashes alone cannot be found by any word.
      if (words === 0) continue;
      const start = offsets.at(chunk.start);
      this.#writer.addChunk({ document, start, end: offsets.at(chunk.end), headings: chunk.headings, terms, words });
      this.#signatures.push(signatureOf(shinglesOf(body)));
      this.#contributions.push(contribution);
      await this.#embed(EMBEDDING_BATCH);
      await this.#pause();
    }
    return this.#contributions.length - before;
  }

  /** Embeds the chunks that have no vector yet, once there are at least so many. */
  async #embed(atLeast: number): Promise<void> {
    const { embedding } = this.#options;
    const waiting = this.#contributions.length - this.#embedded;
    if (!embedding || waiting < atLeast) return;
    const texts = Array.from({ length: waiting }, (_, i) => this.#writer.text(this.#embedded + i));
    const vectors = await embedding.embed(texts);
    for (let i = 0; i < waiting; i++) this.#writer.addVector(unitVector(vectors[i], embedding));
    this.#embedded += waiting;
  }

  async #findOriginals(): Promise<number> {
    const count = this.#contributions.length;
    const signatures = new Uint32Array(count * SIGNATURE_LENGTH);
    for (let i = 0; i < count; i++) signatures.set(this.#signatures[i], i * SIGNATURE_LENGTH);
    const originals = await findOriginals({
      count,
      signatures,
      contributions: Uint32Array.from(this.#contributions),
      shingles: (chunk) => shinglesOf(this.#writer.text(chunk)),
      pause: () => this.#pause(),
    });
    this.#writer.setOriginals(originals);
    return originals.filter((original) => original >= 0).length;
  }

  #hash(contribution: number, path: string, bytes: Uint8Array): void {
    const name = Buffer.from(path);
    const preimage = new ByteWriter(36 + name.length).u32(contribution).raw(keccak(bytes), 32).raw(name, name.length);
    this.#contentHashes.push(keccak(preimage.finish()));
  }

  #corpusHash(): Uint8Array {
    const writer = new ByteWriter(8 + 32 * this.#contentHashes.length);
    writer.u32(this.#options.dataNet).u32(this.#options.version);
    for (const hash of this.#contentHashes) writer.raw(hash, 32);
    return keccak(writer.finish());
  }

  async #pause(): Promise<void> {
    if (performance.now() < this.#turnEnds) return;
    this.#options.signal?.throwIfAborted();
    await setImmediate();
    this.#turnEnds = performance.now() + TURN;
  }
}

function countTerms(chunk: TextChunk, body: string): { terms: Map<string, number>; words: number } {
  const terms = new Map<string, number>();
  let words = 0;
  for (const text of [...chunk.headings, body]) {
    forEachWord(text, (word) => {
      terms.set(word, (terms.get(word) ?? 0) + 1);
      words += 1;
      return undefined;
    });
  }
  return { terms, words };
}

function ascending<T>(list: readonly T[], key: (entry: T) => number | string): T[] {
  return [...list].sort((a, b) => (key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : 0));
}
