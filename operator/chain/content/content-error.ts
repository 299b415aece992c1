export type ContentErrorCode =
  /** The address may not be reached from here, whoever asks: private, local, or of a kind that is not fetched. */
  | "refused"
  /** More bytes than allowed. */
  | "too_large"
  /** What came is not what was registered. */
  | "wrong_hash"
  /** Too slow, absent, or broken on the way: another source or another time may help. */
  | "unavailable";

/** Why content could not be had. */
export class ContentError extends Error {
  readonly code: ContentErrorCode;

  constructor(code: ContentErrorCode, message: string, cause?: unknown) {
    super(message, { cause });
    this.name = "ContentError";
    this.code = code;
  }
}
