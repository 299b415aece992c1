/** The grammar's view of one answer while it is being written. */
export interface GrammarSession {
  /**
   * Tokens allowed next, one bit each, least significant bit first; waits for it where it is still being computed.
   *
   * @throws EngineError `invalid_request` where the schema turned out not to compile, `failed` where the grammar broke
   */
  mask(): Int32Array;
  /** The answer goes on with an allowed token; work on the next mask begins. */
  accept(token: number): void;
  close(): void;
}
