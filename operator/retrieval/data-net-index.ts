import { closeSync, existsSync, openSync, readSync } from "node:fs";
import { DatabaseSync, type StatementSync } from "node:sqlite";
import type { Hex } from "../protocol/bytes.ts";
import { filesIn, INDEX_FORMAT, indexFiles } from "./index/index-files.ts";
import { type Postings, PostingsReader } from "./index/postings.ts";
import { VectorFile } from "./vectors.ts";

/** A retrieved stretch of a document and where it comes from. */
export interface Passage {
  readonly dataNet: number;
  readonly version: number;
  readonly contribution: number;
  readonly path: string;
  /** First and one past the last byte. */
  readonly start: number;
  readonly end: number;
  /** What the bytes are counted in: the document as contributed, or the text extracted from it (HTML, PDF). */
  readonly rangeOver: "source" | "extracted";
  readonly headings: readonly string[];
  readonly text: string;
}

/** A document whose text is in the index. */
export interface IndexedDocument {
  readonly id: number;
  readonly contribution: number;
  readonly path: string;
  readonly rangeOver: "source" | "extracted";
  /** Length of its text in bytes. */
  readonly bytes: number;
}

/** An index that is missing, of another format or damaged. */
export class UnreadableIndex extends Error {
  constructor(folder: string, reason: string) {
    super(`The index in ${folder} cannot be used: ${reason}. Ingest the DataNet version again.`);
    this.name = "UnreadableIndex";
  }
}

/**
 * An indexed DataNet version, open for reading. Any number may be open, in any number of processes.
 *
 * @example
 * const index = openDataNetIndex("/var/lib/openledger/indexes", 7, 2);
 * const [best] = await search([index], "Where do otters sleep?");
 * index.close();
 */
export class DataNetIndex {
  /** Where its files are. */
  readonly folder: string;
  readonly dataNet: number;
  readonly version: number;
  /** See `IngestReport.corpusHash`. */
  readonly corpusHash: Hex;
  /** Words of each chunk, its headings included. */
  readonly lengths: Uint32Array;
  readonly totalWords: number;
  /** Name of the embedding function, where the index has vectors. */
  readonly embedding: string | undefined;
  readonly #database: DatabaseSync;
  readonly #postings: PostingsReader;
  readonly #chunk: StatementSync;
  readonly #text: number;
  readonly #vectors: VectorFile | undefined;

  /** @throws {UnreadableIndex} */
  constructor(folder: string) {
    this.folder = folder;
    const files = filesIn(folder);
    if (!existsSync(files.database)) throw new UnreadableIndex(folder, "there is none");
    this.#database = new DatabaseSync(files.database, { readOnly: true });
    try {
      const settings = readSettings(this.#database);
      if (settings.format !== INDEX_FORMAT) throw new Error(`it has format ${settings.format}`);
      this.dataNet = settings.dataNet as number;
      this.version = settings.version as number;
      this.corpusHash = settings.corpusHash as Hex;
      const lengths = settings.lengths as Uint8Array;
      this.lengths = new Uint32Array(lengths.slice().buffer);
      this.totalWords = this.lengths.reduce((sum, words) => sum + words, 0);
      this.embedding = (settings.embedding as string | null) ?? undefined;
      this.#postings = new PostingsReader(this.#database);
      this.#chunk = this.#database.prepare(
        `SELECT contribution, path, range_over, first_byte, start, end, headings, original
         FROM chunks JOIN documents ON documents.id = chunks.document WHERE chunks.id = ?`,
      );
      this.#text = openSync(files.text, "r");
      if (this.embedding !== undefined) {
        this.#vectors = new VectorFile(files.vectors, settings.dimensions as number, this.lengths.length);
      }
    } catch (error) {
      this.#database.close();
      throw new UnreadableIndex(folder, (error as Error).message);
    }
  }

  get chunks(): number {
    return this.lengths.length;
  }

  postings(term: string): Postings {
    return this.#postings.read(term);
  }

  /** Cosine of every chunk's vector with a vector of length 1; undefined where the index has none. */
  vectorScores(query: Float32Array): Float32Array | undefined {
    return this.#vectors?.scores(query);
  }

  /** A chunk, and the earlier contribution's chunk that it is a near-duplicate of. */
  passage(chunk: number): Passage & { readonly original: number | undefined } {
    const row = this.#chunk.get(chunk) as ChunkRow | undefined;
    if (!row) throw new RangeError(`There is no chunk ${chunk}`);
    return {
      dataNet: this.dataNet,
      version: this.version,
      contribution: row.contribution,
      path: row.path,
      start: row.start,
      end: row.end,
      rangeOver: row.range_over,
      headings: JSON.parse(row.headings),
      text: this.#read(row.first_byte + row.start, row.end - row.start).toString("utf8"),
      original: row.original ?? undefined,
    };
  }

  /** Documents by contribution, then path. */
  documents(): IndexedDocument[] {
    const rows = this.#database.prepare("SELECT * FROM documents ORDER BY id").all() as unknown as DocumentRow[];
    return rows.map(({ id, contribution, path, range_over, bytes }) => ({
      id,
      contribution,
      path,
      rangeOver: range_over,
      bytes,
    }));
  }

  /** Bytes `start` to `end` of a document's text, which is what ranges are over. */
  documentBytes(id: number, start: number, end: number): Buffer {
    const row = this.#database.prepare("SELECT first_byte, bytes FROM documents WHERE id = ?").get(id) as
      | DocumentRow
      | undefined;
    if (!row || start < 0 || end > row.bytes || start > end) {
      throw new RangeError(`There are no bytes ${start} to ${end} of document ${id}`);
    }
    return this.#read(row.first_byte + start, end - start);
  }

  close(): void {
    this.#database.close();
    closeSync(this.#text);
    this.#vectors?.close();
  }

  #read(position: number, length: number): Buffer {
    const buffer = Buffer.alloc(length);
    for (let done = 0; done < length; ) {
      const read = readSync(this.#text, buffer, done, length - done, position + done);
      if (read === 0) throw new Error("The file of texts is shorter than its index says");
      done += read;
    }
    return buffer;
  }
}

interface ChunkRow {
  contribution: number;
  path: string;
  range_over: "source" | "extracted";
  first_byte: number;
  start: number;
  end: number;
  headings: string;
  original: number | null;
}

interface DocumentRow {
  id: number;
  contribution: number;
  path: string;
  range_over: "source" | "extracted";
  first_byte: number;
  bytes: number;
}

function readSettings(database: DatabaseSync): Record<string, unknown> {
  const rows = database.prepare("SELECT name, value FROM settings").all() as unknown as {
    name: string;
    value: unknown;
  }[];
  return Object.fromEntries(rows.map(({ name, value }) => [name, value]));
}

/** @throws {UnreadableIndex} When the version was never ingested there, or by an older format. */
export function openDataNetIndex(directory: string, dataNet: number, version: number): DataNetIndex {
  return new DataNetIndex(indexFiles(directory, dataNet, version).folder);
}
