import { join } from "node:path";

/** Files of one indexed DataNet version. */
export function indexFiles(directory: string, dataNet: number, version: number) {
  const folder = join(directory, `${dataNet}-${version}`);
  return { folder, ...filesIn(folder) };
}

/** The same files in a folder of another name. */
export function filesIn(folder: string) {
  return {
    /** SQLite: documents, chunks, postings, settings. */
    database: join(folder, "index.sqlite"),
    /** The bytes that ranges are over, document after document. */
    text: join(folder, "text.bin"),
    /** Vectors of length 1, float32, chunk after chunk; only where an embedding function was given. */
    vectors: join(folder, "vectors.f32"),
  };
}

/** Changed whenever an older index could be misread. */
export const INDEX_FORMAT = 1;
