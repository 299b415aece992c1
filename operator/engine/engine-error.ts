/**
 * Why an engine refused or gave up a request.
 *
 * - `invalid_request`: an argument is out of its range or contradicts another.
 * - `context_too_long`: prompt and wanted tokens do not fit the model's context or the memory set aside for it.
 * - `unknown_adapter`: no adapter of that id is registered here. Never answered by the base model instead.
 * - `adapter_failed`: the adapter's files are missing, broken, unsupported or differ from the expected hash.
 * - `unsupported`: this engine cannot do what was asked (a remote server without scoring, for instance).
 * - `overloaded`: the queue is full; trying again later helps.
 * - `draining`: the engine finishes what it has and takes nothing new.
 * - `cancelled`: the caller's signal fired.
 * - `closed`: the engine was closed.
 * - `unavailable`: a remote server could not be reached, or stopped answering.
 * - `timeout`: a remote server did not answer in time.
 * - `failed`: the engine itself broke; the message says where.
 */
export type EngineErrorCode =
  | "invalid_request"
  | "context_too_long"
  | "unknown_adapter"
  | "adapter_failed"
  | "unsupported"
  | "overloaded"
  | "draining"
  | "cancelled"
  | "closed"
  | "unavailable"
  | "timeout"
  | "failed";

/** The only error type that an {@link Engine} throws on purpose. `details` is plain data and survives a message port. */
export class EngineError extends Error {
  readonly code: EngineErrorCode;
  readonly details: Readonly<Record<string, unknown>>;

  constructor(
    code: EngineErrorCode,
    message: string,
    details: Readonly<Record<string, unknown>> = {},
    cause?: unknown,
  ) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "EngineError";
    this.code = code;
    this.details = details;
  }

  /** Wraps anything thrown, keeping an `EngineError` as it is. */
  static from(error: unknown, code: EngineErrorCode = "failed"): EngineError {
    if (error instanceof EngineError) return error;
    return new EngineError(code, error instanceof Error ? error.message : String(error), {}, error);
  }
}
