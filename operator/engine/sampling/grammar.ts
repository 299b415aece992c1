import type { EngineError } from "../engine-error.ts";

/** The grammar's view of one answer while it is being written. */
export interface GrammarSession {
  /** Whether {@link mask} can be asked for now. Masks are computed beside the steps, usually before they are wanted. */
  readonly ready: boolean;
  /** Why the answer cannot be written: a schema that does not compile, or takes too long to. */
  readonly error: EngineError | undefined;
  /** The answer is complete and the model has no token that would say so. */
  readonly finished: boolean;
  /** Tokens allowed next, one bit each, least significant bit first. Only while `ready`. */
  mask(): Int32Array;
  /** The answer goes on with an allowed token; work on the next mask begins. */
  accept(token: number): void;
  close(): void;
}
