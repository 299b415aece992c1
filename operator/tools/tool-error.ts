/**
 * Why a tool gave nothing.
 *
 * - `refused`: this operator does not call it: a private address, or a command that it has not allowed.
 * - `malformed`: its manifest is none.
 * - `failed`: it could not be reached, or answered with an error.
 * - `timeout`: it took too long.
 * - `too_large`: it answered with more than is taken.
 */
export type ToolErrorCode = "refused" | "malformed" | "failed" | "timeout" | "too_large";

/** A tool that gave no result. The message may be shown to everybody. */
export class ToolError extends Error {
  readonly code: ToolErrorCode;

  constructor(code: ToolErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "ToolError";
    this.code = code;
  }
}
