/** What one document may cost. */
export interface ReadingLimits {
  /** Bytes of the document as contributed. */
  readonly maxDocumentBytes: number;
  /** Bytes of the text found in it. */
  readonly maxTextBytes: number;
  readonly maxPages: number;
  /** Milliseconds for one HTML or PDF document. */
  readonly maxMilliseconds: number;
  /** Bytes that the process which reads HTML and PDF may hold, its own code (about 80 MB) included. */
  readonly maxMemoryBytes: number;
}

export const DEFAULT_READING_LIMITS: ReadingLimits = {
  maxDocumentBytes: 32 * 1024 ** 2,
  maxTextBytes: 16 * 1024 ** 2,
  maxPages: 2_000,
  maxMilliseconds: 20_000,
  maxMemoryBytes: 768 * 1024 ** 2,
};
