import { EngineError } from "../engine-error.ts";

/** A JSON object from outside: nothing about its fields is known. */
export type JsonObject = Readonly<Record<string, unknown>>;

/** The answer of a server that does not look as its documentation says. */
export function malformed(what: string, given: unknown): EngineError {
  const text = typeof given === "string" ? given : (JSON.stringify(given) ?? String(given));
  return new EngineError("failed", `The server's answer makes no sense: ${what}`, { answer: clip(text, 200) });
}

/** First `length` characters, with a mark where something was cut. */
export function clip(text: string, length: number): string {
  return text.length <= length ? text : `${text.slice(0, length)}…`;
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** @throws EngineError `failed` on a piece of a stream that is no JSON */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw malformed("a piece of the stream is no JSON", text);
  }
}

/** @throws EngineError `failed` on anything that is no object */
export function objectFrom(value: unknown, what: string): JsonObject {
  if (!isObject(value)) throw malformed(`${what} is no object`, value);
  return value;
}

/** @throws EngineError `failed` on anything that is no array */
export function arrayFrom(value: unknown, what: string): readonly unknown[] {
  if (!Array.isArray(value)) throw malformed(`${what} is no list`, value);
  return value;
}

/** @throws EngineError `failed` on anything that is no string */
export function stringFrom(value: unknown, what: string): string {
  if (typeof value !== "string") throw malformed(`${what} is no text`, value);
  return value;
}

/** @throws EngineError `failed` on anything that is no finite number */
export function numberFrom(value: unknown, what: string): number {
  if (typeof value !== "number" || !Number.isFinite(value)) throw malformed(`${what} is no number`, value);
  return value;
}

/** Token ids: whole numbers from 0. @throws EngineError `failed` on anything else */
export function tokenIdsFrom(value: unknown, what: string): number[] {
  return arrayFrom(value, what).map((id) => {
    if (typeof id !== "number" || !Number.isInteger(id) || id < 0) throw malformed(`${what} holds no token ids`, id);
    return id;
  });
}

export function optionalString(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined;
}

export function optionalNumber(value: unknown): number | undefined {
  return typeof value === "number" && Number.isFinite(value) ? value : undefined;
}
