import { closeSync, fsyncSync, openSync, readSync, writeSync } from "node:fs";
import { DatabaseSync, type StatementSync } from "node:sqlite";
import type { RefusalCode } from "../reading/document-refused.ts";
import { filesIn } from "./index-files.ts";
import { PostingsWriter } from "./postings.ts";

const SCHEMA = `
  PRAGMA journal_mode = OFF;
  PRAGMA synchronous = OFF;
  CREATE TABLE settings (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
  CREATE TABLE documents (
    id INTEGER PRIMARY KEY, contribution INTEGER NOT NULL, path TEXT NOT NULL, range_over TEXT NOT NULL,
    first_byte INTEGER NOT NULL, bytes INTEGER NOT NULL);
  CREATE TABLE chunks (
    id INTEGER PRIMARY KEY, document INTEGER NOT NULL, start INTEGER NOT NULL, end INTEGER NOT NULL,
    headings TEXT NOT NULL, original INTEGER);
  CREATE TABLE refused (contribution INTEGER NOT NULL, path TEXT NOT NULL, code TEXT NOT NULL, reason TEXT NOT NULL);
  BEGIN;
`;

/** A chunk as the writer takes it. */
interface NewChunk {
  readonly document: number;
  /** Bytes within the document, `end` exclusive. */
  readonly start: number;
  readonly end: number;
  readonly headings: readonly string[];
  /** How often each term occurs. */
  readonly terms: ReadonlyMap<string, number>;
  /** Terms in all. */
  readonly words: number;
}

/** Writes the files of one DataNet version into a folder that nobody reads yet. */
export class IndexWriter {
  readonly #path: string;
  readonly #database: DatabaseSync;
  readonly #postings: PostingsWriter;
  readonly #insertDocument: StatementSync;
  readonly #insertChunk: StatementSync;
  readonly #insertRefused: StatementSync;
  readonly #text: number;
  readonly #vectors: number | undefined;
  #textBytes = 0;
  #documents: { firstByte: number }[] = [];
  #chunks: { firstByte: number; bytes: number }[] = [];
  #lengths: number[] = [];

  constructor(folder: string, withVectors: boolean) {
    const files = filesIn(folder);
    this.#path = files.database;
    this.#database = new DatabaseSync(files.database);
    this.#database.exec(SCHEMA);
    this.#postings = new PostingsWriter(this.#database);
    this.#insertDocument = this.#database.prepare("INSERT INTO documents VALUES (?, ?, ?, ?, ?, ?)");
    this.#insertChunk = this.#database.prepare("INSERT INTO chunks VALUES (?, ?, ?, ?, ?, NULL)");
    this.#insertRefused = this.#database.prepare("INSERT INTO refused VALUES (?, ?, ?, ?)");
    this.#text = openSync(files.text, "w+");
    if (withVectors) this.#vectors = openSync(files.vectors, "w");
  }

  get chunks(): number {
    return this.#chunks.length;
  }

  addDocument(contribution: number, path: string, rangeOver: string, bytes: Uint8Array): number {
    const id = this.#documents.length;
    this.#insertDocument.run(id, contribution, path, rangeOver, this.#textBytes, bytes.length);
    this.#documents.push({ firstByte: this.#textBytes });
    writeFully(this.#text, bytes);
    this.#textBytes += bytes.length;
    return id;
  }

  addChunk(chunk: NewChunk): void {
    const id = this.#chunks.length;
    const { document, start, end, headings } = chunk;
    this.#insertChunk.run(id, document, start, end, JSON.stringify(headings));
    this.#postings.add(id, chunk.terms);
    this.#chunks.push({ firstByte: this.#documents[document].firstByte + start, bytes: end - start });
    this.#lengths.push(chunk.words);
  }

  addVector(vector: Float32Array): void {
    writeFully(this.#vectors!, new Uint8Array(vector.buffer, vector.byteOffset, vector.byteLength));
  }

  addRefused(contribution: number, path: string, code: RefusalCode, reason: string): void {
    this.#insertRefused.run(contribution, path, code, reason);
  }

  /** Text of a chunk that was added. */
  text(chunk: number): string {
    const { firstByte, bytes } = this.#chunks[chunk];
    const buffer = Buffer.alloc(bytes);
    readSync(this.#text, buffer, 0, bytes, firstByte);
    return buffer.toString("utf8");
  }

  /** Notes for each chunk the earlier one it is a near-duplicate of, or -1. */
  setOriginals(originals: Int32Array): void {
    const update = this.#database.prepare("UPDATE chunks SET original = ? WHERE id = ?");
    originals.forEach((original, chunk) => {
      if (original >= 0) update.run(original, chunk);
    });
  }

  /** Completes the files and makes them durable. */
  finish(settings: Readonly<Record<string, string | number | Uint8Array | null>>): void {
    this.#postings.flush();
    const insert = this.#database.prepare("INSERT INTO settings VALUES (?, ?)");
    for (const [name, value] of Object.entries(settings)) insert.run(name, value);
    insert.run("lengths", new Uint8Array(Uint32Array.from(this.#lengths).buffer));
    this.#database.exec("COMMIT");
    for (const file of [this.#text, this.#vectors]) if (file !== undefined) fsyncSync(file);
    const database = openSync(this.#path, "r+");
    fsyncSync(database);
    closeSync(database);
    this.close();
  }

  close(): void {
    for (const file of [this.#text, this.#vectors]) if (file !== undefined) closeSync(file);
    this.#database.close();
  }
}

function writeFully(file: number, bytes: Uint8Array): void {
  for (let done = 0; done < bytes.length; ) done += writeSync(file, bytes, done);
}
