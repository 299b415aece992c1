import { parseEther } from "viem";
import { fromHex } from "../../protocol/bytes.ts";
import {
  CONTEXT_MEASURE,
  type Composition,
  EMPTY_POOL,
  type Pinned,
  type PinnedAdapter,
  type Split,
  TRAINING_MEASURE,
} from "../../protocol/composition.ts";

const FIELDS = [
  "description",
  "baseModel",
  "prices",
  "split",
  "emptyPools",
  "measures",
  "prompt",
  "adapters",
  "dataNets",
  "tools",
];
const SPLIT = ["operator", "publisher", "adapters", "prompt", "context", "training", "tool"] as const;

/**
 * Reads a composition as people write it:
 *
 * ```json
 * {
 *   "baseModel": "0x…",
 *   "prices": { "job": "0.001", "promptToken": "0.000001", "completionToken": "0.000004" },
 *   "split": { "operator": 50, "publisher": 10, "context": 40 },
 *   "emptyPools": { "context": "proRata" },
 *   "measures": { "context": "leaveOneOut", "training": "influence" },
 *   "prompt": "5@1", "adapters": [{ "pin": "4@1", "share": 100, "scale": 1 }], "dataNets": ["1@1"], "tools": ["6@1"]
 * }
 * ```
 *
 * Prices are OPEN, the split and adapters' shares are percent, scales are factors.
 *
 * @throws Error that names the field.
 */
export function readComposition(text: string): Composition {
  const file = objectIn(JSON.parse(text), "the file");
  const unknown = Object.keys(file).filter((name) => !FIELDS.includes(name));
  if (unknown.length > 0) throw new Error(`The composition has no field ${unknown.join(", ")}.`);
  const [prices, split] = [objectIn(file.prices, "prices"), objectIn(file.split, "split")];
  const [empty, measures] = [objectIn(file.emptyPools ?? {}, "emptyPools"), objectIn(file.measures ?? {}, "measures")];
  const foreign = Object.keys(split).find((name) => !SPLIT.includes(name as never));
  if (foreign) throw new Error(`split has no class ${foreign}.`);
  if (!/^0x[0-9a-f]{64}$/i.test(String(file.baseModel))) throw new Error("baseModel must be 0x and 64 digits.");
  return {
    baseModel: fromHex(String(file.baseModel)),
    pricePerJob: priceIn(prices.job, "prices.job"),
    pricePerPromptToken: priceIn(prices.promptToken, "prices.promptToken"),
    pricePerCompletionToken: priceIn(prices.completionToken, "prices.completionToken"),
    split: Object.fromEntries(
      SPLIT.map((name) => [name, millionths(split[name] ?? 0, 10_000, `split.${name}`)]),
    ) as unknown as Split,
    emptyContext: oneOf(EMPTY_POOL, empty.context ?? "proRata", "emptyPools.context"),
    emptyTraining: oneOf(EMPTY_POOL, empty.training ?? "proRata", "emptyPools.training"),
    emptyTool: oneOf(EMPTY_POOL, empty.tool ?? "proRata", "emptyPools.tool"),
    contextMeasure: oneOf(CONTEXT_MEASURE, measures.context ?? "leaveOneOut", "measures.context"),
    trainingMeasure: oneOf(TRAINING_MEASURE, measures.training ?? "influence", "measures.training"),
    prompt: file.prompt === undefined ? null : pinIn(file.prompt, "prompt"),
    adapters: listIn(file.adapters, "adapters").map((entry, i): PinnedAdapter => {
      const adapter = objectIn(entry, `adapters[${i}]`);
      return {
        ...pinIn(adapter.pin, `adapters[${i}].pin`),
        share: millionths(adapter.share, 10_000, `adapters[${i}].share`),
        scale: millionths(adapter.scale ?? 1, 1_000_000, `adapters[${i}].scale`),
      };
    }),
    dataNets: listIn(file.dataNets, "dataNets").map((entry, i) => pinIn(entry, `dataNets[${i}]`)),
    tools: listIn(file.tools, "tools").map((entry, i) => pinIn(entry, `tools[${i}]`)),
  };
}

function objectIn(value: unknown, name: string): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new Error(`${name} must be an object.`);
  return value as Record<string, unknown>;
}

function listIn(value: unknown, name: string): unknown[] {
  if (value === undefined) return [];
  if (!Array.isArray(value)) throw new Error(`${name} must be a list.`);
  return value;
}

function priceIn(value: unknown, name: string): bigint {
  if (typeof value !== "string" || !/^\d+(\.\d{1,18})?$/.test(value)) {
    throw new Error(`${name} must be an amount of OPEN as text, like "0.001".`);
  }
  return parseEther(value);
}

/** A decimal number times so much, which must come out whole. */
function millionths(value: unknown, times: number, name: string): number {
  const result = Math.round(Number(value) * times);
  if (typeof value !== "number" || !(value >= 0) || Math.abs(result - value * times) > 1e-6) {
    throw new Error(`${name} must be a number with no more than six digits in millionths.`);
  }
  return result;
}

function oneOf<T extends number>(names: Record<string, T>, value: unknown, name: string): T {
  if (typeof value !== "string" || !Object.hasOwn(names, value)) {
    throw new Error(`${name} must be one of ${Object.keys(names).join(", ")}.`);
  }
  return names[value];
}

function pinIn(value: unknown, name: string): Pinned {
  const match = /^(\d{1,10})@(\d{1,10})$/.exec(String(value));
  if (!match) throw new Error(`${name} must be an id and a version, like "5@1".`);
  return { id: Number(match[1]), version: Number(match[2]) };
}
