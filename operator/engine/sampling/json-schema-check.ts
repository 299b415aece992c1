import { EngineError } from "../engine-error.ts";

const MAX_BYTES = 64 * 1024;
const MAX_DEPTH = 32;
/** Larger counts are unrolled into grammars that take seconds and gigabytes. */
const MAX_COUNT = 4096;
const COUNTS = ["minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"];
const TYPES = new Set(["null", "boolean", "object", "array", "number", "string", "integer"]);
/** Keywords whose value is one schema, a list of schemas, or schemas by name. */
const ONE = [
  "items",
  "additionalProperties",
  "additionalItems",
  "contains",
  "not",
  "propertyNames",
  "if",
  "then",
  "else",
];
const LIST = ["allOf", "anyOf", "oneOf", "prefixItems", "items"];
const NAMED = ["properties", "patternProperties", "$defs", "definitions", "dependentSchemas"];

/**
 * Refuses what is no JSON schema before the grammar compiler sees it, which would stop its whole process.
 *
 * @returns the schema as text
 * @throws EngineError `invalid_request` naming the place
 */
export function checkedSchema(schema: unknown): string {
  const text = JSON.stringify(schema);
  if (text === undefined) refuse("#", "is no JSON value");
  if (text.length > MAX_BYTES) refuse("#", `takes ${text.length} characters; ${MAX_BYTES} are allowed`);
  checkSchema(schema, "#", 0);
  return text;
}

function checkSchema(schema: unknown, place: string, depth: number): void {
  if (depth > MAX_DEPTH) refuse(place, `is nested more than ${MAX_DEPTH} deep`);
  if (typeof schema === "boolean") return;
  if (!isRecord(schema)) refuse(place, "is neither an object nor a boolean");
  const { type, required, $ref, pattern } = schema;
  const types = type === undefined ? [] : Array.isArray(type) ? type : [type];
  for (const one of types) if (!TYPES.has(one)) refuse(`${place}/type`, `${JSON.stringify(one)} is no type`);
  if (required !== undefined && !(Array.isArray(required) && required.every((name) => typeof name === "string"))) {
    refuse(`${place}/required`, "is no list of names");
  }
  if (schema.enum !== undefined && !(Array.isArray(schema.enum) && schema.enum.length > 0)) {
    refuse(`${place}/enum`, "is no list with values");
  }
  if ($ref !== undefined && !(typeof $ref === "string" && $ref.startsWith("#"))) {
    refuse(`${place}/$ref`, "leads out of the schema");
  }
  if (pattern !== undefined) checkPattern(pattern, `${place}/pattern`);
  for (const name of COUNTS) {
    const count = schema[name];
    if (count === undefined) continue;
    if (!Number.isInteger(count) || (count as number) < 0 || (count as number) > MAX_COUNT) {
      refuse(`${place}/${name}`, `is ${JSON.stringify(count)}, not a whole number up to ${MAX_COUNT}`);
    }
  }
  checkParts(schema, place, depth);
}

function checkParts(schema: Record<string, unknown>, place: string, depth: number): void {
  for (const name of NAMED) {
    const parts = schema[name];
    if (parts === undefined) continue;
    if (!isRecord(parts)) refuse(`${place}/${name}`, "is no object");
    for (const [key, part] of Object.entries(parts)) checkSchema(part, `${place}/${name}/${key}`, depth + 1);
  }
  for (const name of LIST) {
    const parts = schema[name];
    if (parts === undefined || (name === "items" && !Array.isArray(parts))) continue;
    if (!Array.isArray(parts) || parts.length === 0) refuse(`${place}/${name}`, "is no list with schemas");
    for (const [i, part] of parts.entries()) checkSchema(part, `${place}/${name}/${i}`, depth + 1);
  }
  for (const name of ONE) {
    if (schema[name] !== undefined && !Array.isArray(schema[name])) {
      checkSchema(schema[name], `${place}/${name}`, depth + 1);
    }
  }
}

function checkPattern(pattern: unknown, place: string): void {
  if (typeof pattern !== "string") refuse(place, "is no text");
  try {
    new RegExp(pattern, "u");
  } catch {
    refuse(place, "is no regular expression");
  }
  for (const [, low, high] of pattern.matchAll(/\{(\d+)(?:,(\d*))?\}/g)) {
    if (Math.max(Number(low), Number(high ?? 0)) > MAX_COUNT) refuse(place, `repeats more than ${MAX_COUNT} times`);
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function refuse(place: string, problem: string): never {
  throw new EngineError("invalid_request", `JSON schema: ${place} ${problem}`, { place });
}
