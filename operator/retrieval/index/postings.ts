import type { DatabaseSync, StatementSync } from "node:sqlite";
import { VarintReader, VarintWriter } from "./varint.ts";

/** Postings held in memory before they are written as one segment. */
const SEGMENT_POSTINGS = 2_000_000;

interface TermPostings {
  readonly writer: VarintWriter;
  last: number;
  documents: number;
}

/**
 * Writes an inverted index: for each term the chunks that hold it, and how often. Memory is bounded by writing segments;
 * a term's segments follow each other in order of chunks.
 */
export class PostingsWriter {
  readonly #insert: StatementSync;
  #terms = new Map<string, TermPostings>();
  #postings = 0;
  #segment = 0;

  constructor(database: DatabaseSync) {
    database.exec(`CREATE TABLE postings (
      term TEXT NOT NULL, segment INTEGER NOT NULL, chunks INTEGER NOT NULL, data BLOB NOT NULL,
      PRIMARY KEY (term, segment)) WITHOUT ROWID`);
    this.#insert = database.prepare("INSERT INTO postings VALUES (?, ?, ?, ?)");
  }

  /** Adds a chunk with its terms and their counts. Chunks come in ascending order. */
  add(chunk: number, counts: ReadonlyMap<string, number>): void {
    for (const [term, count] of counts) {
      let postings = this.#terms.get(term);
      if (!postings) {
        postings = { writer: new VarintWriter(), last: -1, documents: 0 };
        this.#terms.set(term, postings);
      }
      postings.writer.push(chunk - postings.last - 1);
      postings.writer.push(count);
      postings.last = chunk;
      postings.documents += 1;
    }
    this.#postings += counts.size;
    if (this.#postings >= SEGMENT_POSTINGS) this.flush();
  }

  flush(): void {
    for (const term of [...this.#terms.keys()].sort()) {
      const { writer, documents } = this.#terms.get(term)!;
      this.#insert.run(term, this.#segment, documents, writer.bytes);
    }
    this.#terms = new Map();
    this.#postings = 0;
    this.#segment += 1;
  }
}

/** Where a term stands. */
export interface Postings {
  /** Ascending. */
  readonly chunks: Uint32Array;
  readonly counts: Uint32Array;
}

/** Reads the index that {@link PostingsWriter} wrote. */
export class PostingsReader {
  readonly #select: StatementSync;

  constructor(database: DatabaseSync) {
    this.#select = database.prepare("SELECT chunks, data FROM postings WHERE term = ? ORDER BY segment");
  }

  /** Postings of a term; empty when no chunk has it. */
  read(term: string): Postings {
    const segments = this.#select.all(term) as unknown as { chunks: number; data: Uint8Array }[];
    const total = segments.reduce((sum, { chunks }) => sum + chunks, 0);
    const chunks = new Uint32Array(total);
    const counts = new Uint32Array(total);
    let at = 0;
    for (const { data } of segments) {
      const reader = new VarintReader(data);
      for (let last = -1; !reader.done; at++) {
        last += reader.next() + 1;
        chunks[at] = last;
        counts[at] = reader.next();
      }
    }
    return { chunks, counts };
  }
}
