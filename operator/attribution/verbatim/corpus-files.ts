import { join } from "node:path";

/** Files of the suffix array over one indexed DataNet version, in a folder beside its index. */
export function corpusFiles(indexFolder: string) {
  const folder = join(indexFolder, "verbatim");
  return { folder, ...corpusFilesIn(folder) };
}

/** The same files in a folder of another name. */
export function corpusFilesIn(folder: string) {
  return {
    /** 32-bit hashes of all words, a separator after each document. */
    words: join(folder, "words.u32"),
    /** Byte at which each word starts in its document's text. */
    starts: join(folder, "starts.u32"),
    /** Positions of words, by the text that starts there, shard after shard. */
    suffixes: join(folder, "suffixes.u32"),
    layout: join(folder, "layout.json"),
  };
}

/** What the files hold. */
export interface CorpusLayout {
  readonly format: 1;
  readonly corpusHash: string;
  /** Words, separators not counted. */
  readonly words: number;
  /** Stretches of positions that were sorted together: first position and one past the last. */
  readonly shards: readonly (readonly [number, number])[];
  /** First position of each document of the index, and one past the last word of the last one. */
  readonly documents: readonly number[];
}
