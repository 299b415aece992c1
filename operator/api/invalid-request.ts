import type { z } from "zod";

/** A request that asks for what there is not, or that cannot be read. Nothing is charged for it. */
export class InvalidRequest extends Error {
  /** The field at fault as OpenAI's errors name it: `messages[0].content`. Null for the body as a whole. */
  readonly param: string | null;
  /** For programs: `invalid_value`, or `unsupported_parameter` for what OpenAI has and this node has not. */
  readonly code: string;

  constructor(message: string, param: string | null, code = "invalid_value") {
    super(message);
    this.name = "InvalidRequest";
    this.param = param;
    this.code = code;
  }
}

/**
 * The first thing that is wrong, in words that name the field.
 *
 * @param within Where in the body it was looked for.
 */
export function invalidRequestOf(error: z.ZodError, within: readonly PropertyKey[] = []): InvalidRequest {
  const [issue] = error.issues;
  const param = paramOf([...within, ...issue.path]);
  return new InvalidRequest(`Invalid ${param === null ? "body" : `'${param}'`}: ${issue.message}.`, param);
}

function paramOf(path: readonly PropertyKey[]): string | null {
  if (path.length === 0) return null;
  return path.map((key, i) => (typeof key === "number" ? `[${key}]` : `${i > 0 ? "." : ""}${String(key)}`)).join("");
}
