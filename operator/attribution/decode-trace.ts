import { canonicalJson, type Json } from "../protocol/canonical-json.ts";
import { MalformedTrace, type Trace } from "./trace.ts";

/** Longest trace that is read, in bytes. */
const MOST_BYTES = 64 * 1024 ** 2;

type Check = (value: unknown, where: string) => void;

/**
 * Reads a trace, refusing whatever {@link encodeTrace} would not write.
 *
 * @throws {MalformedTrace} Naming the field that is wrong.
 */
export function decodeTrace(bytes: Uint8Array): Trace {
  if (bytes.length > MOST_BYTES) throw new MalformedTrace(`${bytes.length} bytes, more than ${MOST_BYTES}`);
  let value: unknown;
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    value = JSON.parse(text);
  } catch {
    throw new MalformedTrace("no JSON in UTF-8");
  }
  trace(value, "trace");
  let canonical: string;
  try {
    canonical = canonicalJson(value as Json);
  } catch (error) {
    throw new MalformedTrace((error as Error).message);
  }
  if (canonical !== text) throw new MalformedTrace("not in canonical form");
  return value as Trace;
}

function fail(where: string, expected: string): never {
  throw new MalformedTrace(`${where} is not ${expected}`);
}

const text: Check = (value, where) => {
  if (typeof value !== "string") fail(where, "text");
};
const flag: Check = (value, where) => {
  if (typeof value !== "boolean") fail(where, "true or false");
};
const real: Check = (value, where) => {
  if (typeof value !== "number") fail(where, "a number");
};
const integer: Check = (value, where) => {
  if (!Number.isSafeInteger(value)) fail(where, "an integer");
};
const natural: Check = (value, where) => {
  if (!Number.isSafeInteger(value) || (value as number) < 0) fail(where, "a natural number");
};
/** Whatever JSON holds: tool calls and tool descriptions are the model's own formats. */
const anything: Check = () => {};

function oneOf(...allowed: readonly unknown[]): Check {
  return (value, where) => {
    if (!allowed.includes(value)) fail(where, `one of ${allowed.join(", ")}`);
  };
}

function list(check: Check): Check {
  return (value, where) => {
    if (!Array.isArray(value)) fail(where, "a list");
    value.forEach((entry, i) => {
      check(entry, `${where}[${i}]`);
    });
  };
}

/** Exactly these members; those whose name ends in `?` may be absent. */
function object(members: Readonly<Record<string, Check>>): Check {
  const checks = Object.entries(members).map(([name, check]) => ({
    name: name.replace("?", ""),
    check,
    optional: name.endsWith("?"),
  }));
  return (value, where) => {
    if (typeof value !== "object" || value === null || Array.isArray(value)) fail(where, "an object");
    for (const { name, check, optional } of checks) {
      if (Object.hasOwn(value, name)) check((value as Record<string, unknown>)[name], `${where}.${name}`);
      else if (!optional) fail(`${where}.${name}`, "there");
    }
    const unknown = Object.keys(value).find((key) => !checks.some(({ name }) => name === key));
    if (unknown !== undefined) fail(`${where}.${unknown}`, "known");
  };
}

const part = object({ text, "source?": natural });
const message = object({
  role: text,
  parts: list(part),
  "source?": natural,
  "name?": text,
  "tool_calls?": list(anything),
  "tool_call_id?": text,
});
const rawPrompt = object({ parts: list(part) });
const chatPrompt = object({ messages: list(message), "tools?": list(anything) });
const prompt: Check = (value, where) => {
  const raw = typeof value === "object" && value !== null && "parts" in value;
  (raw ? rawPrompt : chatPrompt)(value, where);
};
const place = {
  dataNet: natural,
  version: natural,
  path: text,
  start: natural,
  end: natural,
  rangeOver: oneOf("source", "extracted"),
};
const source = object({
  kind: oneOf("contribution", "prompt", "tool"),
  id: natural,
  via: natural,
  "owner?": text,
  "passages?": list(object(place)),
});
const effect = object({ id: natural, via: natural, effect: integer });
const entry = object({ id: natural, ppm: natural, via: natural });

const quantisation = oneOf("f32", "q8", "q4");
const sparse = object({ blockSize: natural, sinkBlocks: natural, localBlocks: natural, stride: natural });

const trace = object({
  format: oneOf(1),
  inputs: object({
    agent: natural,
    version: natural,
    model: object({ name: text, "hash?": text, "sparse?": sparse, "quantisation?": quantisation }),
    adapters: list(object({ id: natural, version: natural, name: text, weight: real, "hash?": text })),
    prompt,
    question: text,
    sources: list(source),
    answer: object({ text, tokens: list(natural) }),
    corpora: list(
      object({ dataNet: natural, version: natural, corpusHash: text, "context?": natural, "training?": natural }),
    ),
    measures: object({ context: oneOf("leave-one-out", "verbatim"), training: oneOf("influence", "verbatim") }),
    "notes?": list(text),
  }),
  context: object({
    method: oneOf("leave-one-out", "surrogate"),
    clusters: list(list(natural)),
    masks: list(list(flag)),
    scores: list(integer),
    effects: list(integer),
  }),
  adapterEffects: list(integer),
  spans: list(
    object({
      start: natural,
      end: natural,
      words: natural,
      weight: natural,
      occurrences: list(object({ contribution: natural, ...place })),
    }),
  ),
  influence: list(effect),
  pools: object({ context: list(entry), training: list(entry), tool: list(entry) }),
});
