import { ApiError } from "./api-error.ts";

/**
 * Reads a request's body as JSON and stops reading where it gets too long.
 *
 * @throws {ApiError} 413 or 400.
 */
export async function readJson(request: Request, maxBytes: number): Promise<unknown> {
  const tooLarge = () =>
    new ApiError(413, `The body has more than ${maxBytes} bytes.`, {
      code: "request_too_large",
      // What is still on its way is not waited for.
      headers: { connection: "close" },
    });
  if (Number(request.headers.get("content-length") ?? 0) > maxBytes) throw tooLarge();
  const chunks: Uint8Array[] = [];
  let length = 0;
  try {
    for await (const chunk of request.body ?? []) {
      length += chunk.length;
      if (length > maxBytes) break;
      chunks.push(chunk);
    }
  } catch {
    throw new ApiError(400, "The body broke off.", { code: "invalid_body" });
  }
  if (length > maxBytes) throw tooLarge();
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(Buffer.concat(chunks)));
  } catch {
    throw new ApiError(400, "The body is not JSON in UTF-8.", { code: "invalid_json" });
  }
}

/**
 * Bounds how many members of objects and entries of lists a value has, all together: few bytes can hold millions.
 *
 * @throws {ApiError} 413.
 */
export function checkMembers(value: unknown, most: number): void {
  const left = [value];
  let count = 0;
  while (left.length > 0) {
    const next = left.pop();
    if (typeof next !== "object" || next === null) continue;
    // Names alone first: of millions, the values take three times as long.
    count += Array.isArray(next) ? next.length : Object.keys(next).length;
    if (count > most) {
      const message = `The body has more than ${most} members and entries.`;
      throw new ApiError(413, message, { code: "request_too_large" });
    }
    left.push(...Object.values(next));
  }
}
