import { readFileSync, statSync } from "node:fs";
import { ModelFormatError } from "./format-error.ts";

export interface JsonLimits {
  maxBytes: number;
  /** Deepest nesting of objects and arrays. */
  maxDepth: number;
}

/** Limits for the small configuration files of a folder. */
export const CONFIG_LIMITS: JsonLimits = { maxBytes: 4 << 20, maxDepth: 16 };

/** Reads a JSON object from a file of untrusted origin. @throws ModelFormatError */
export function readJsonObject(path: string, limits: JsonLimits): JsonObject {
  let bytes: Uint8Array;
  try {
    const { size } = statSync(path);
    if (size > limits.maxBytes) throw new ModelFormatError(path, `${size} bytes are more than ${limits.maxBytes}`);
    bytes = readFileSync(path);
  } catch (error) {
    if (error instanceof ModelFormatError) throw error;
    throw new ModelFormatError(path, "cannot be read", error);
  }
  return parseJsonObject(bytes, path, limits);
}

/** Parses a JSON object of untrusted origin; `path` is for messages. @throws ModelFormatError */
export function parseJsonObject(bytes: Uint8Array, path: string, limits: JsonLimits): JsonObject {
  if (bytes.length > limits.maxBytes) throw new ModelFormatError(path, `more than ${limits.maxBytes} bytes of JSON`);
  // A few megabytes of brackets take gigabytes once parsed.
  if (nesting(bytes) > limits.maxDepth) throw new ModelFormatError(path, `nested deeper than ${limits.maxDepth}`);
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    throw new ModelFormatError(path, "is not valid JSON", error);
  }
  if (!isRecord(value)) throw new ModelFormatError(path, "must be a JSON object");
  return new JsonObject(path, "", value);
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function nesting(bytes: Uint8Array): number {
  let depth = 0;
  let deepest = 0;
  let inString = false;
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i];
    if (inString) {
      if (byte === 0x5c) i++;
      else if (byte === 0x22) inString = false;
    } else if (byte === 0x22) inString = true;
    else if (byte === 0x7b || byte === 0x5b) deepest = Math.max(deepest, ++depth);
    else if (byte === 0x7d || byte === 0x5d) depth--;
  }
  return deepest;
}

interface NumberRange {
  min?: number;
  max?: number;
}

/** Typed access to the own members of a parsed object, with messages that name file and member. */
export class JsonObject {
  readonly path: string;
  readonly members: Readonly<Record<string, unknown>>;
  private readonly prefix: string;

  constructor(path: string, prefix: string, members: Record<string, unknown>) {
    this.path = path;
    this.prefix = prefix;
    this.members = members;
  }

  /** The member, or undefined where it is absent or null. */
  get(name: string): unknown {
    return Object.hasOwn(this.members, name) ? (this.members[name] ?? undefined) : undefined;
  }

  /** An integer between `min` and `max`; `fallback` where it is absent, an error where there is no fallback. */
  integer(name: string, range: NumberRange, fallback?: number): number {
    const value = this.number(name, range, fallback);
    if (!Number.isSafeInteger(value)) this.fail(name, `${value} is not an integer`);
    return value;
  }

  number(name: string, { min = -Infinity, max = Infinity }: NumberRange, fallback?: number): number {
    const value = this.get(name) ?? fallback;
    if (value === undefined) this.fail(name, "is missing");
    if (typeof value !== "number" || !Number.isFinite(value)) this.fail(name, "must be a number");
    if (value < min || value > max) this.fail(name, `${value} is not between ${min} and ${max}`);
    return value;
  }

  boolean(name: string, fallback: boolean): boolean {
    const value = this.get(name) ?? fallback;
    if (typeof value !== "boolean") this.fail(name, "must be true or false");
    return value;
  }

  string(name: string, fallback?: string): string {
    const value = this.get(name) ?? fallback;
    if (value === undefined) this.fail(name, "is missing");
    if (typeof value !== "string") this.fail(name, "must be a string");
    return value;
  }

  /** A list of strings, or undefined where it is absent. */
  strings(name: string): string[] | undefined {
    const value = this.get(name);
    if (value === undefined) return undefined;
    if (!Array.isArray(value) || value.some((item) => typeof item !== "string")) this.fail(name, "must list strings");
    return value;
  }

  object(name: string): JsonObject | undefined {
    const value = this.get(name);
    if (value === undefined) return undefined;
    if (!isRecord(value)) this.fail(name, "must be an object");
    return new JsonObject(this.path, `${this.prefix}${name}.`, value);
  }

  fail(name: string, problem: string): never {
    throw new ModelFormatError(this.path, `${this.prefix}${name} ${problem}`);
  }
}
