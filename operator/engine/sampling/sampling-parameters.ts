import type { SamplingOptions } from "../engine.ts";
import { EngineError } from "../engine-error.ts";

/** Sampling options with every default filled in and every range checked. */
export interface SamplingParameters {
  readonly temperature: number;
  readonly topP: number;
  /** 0: all. */
  readonly topK: number;
  readonly minP: number;
  readonly repetitionPenalty: number;
  readonly presencePenalty: number;
  readonly frequencyPenalty: number;
  readonly logitBias: ReadonlyMap<number, number>;
  readonly seed: number;
}

/**
 * @param pickSeed called where the options carry no seed
 * @throws EngineError `invalid_request` naming the option and its range
 */
export function samplingParameters(
  options: SamplingOptions,
  vocabSize: number,
  pickSeed: () => number,
): SamplingParameters {
  const bias = new Map<number, number>();
  for (const [key, value] of Object.entries(options.logitBias ?? {})) {
    const token = Number(key);
    if (!Number.isInteger(token) || token < 0 || token >= vocabSize) {
      throw new EngineError("invalid_request", `logitBias: "${key}" is no token id below ${vocabSize}`);
    }
    bias.set(token, within("logitBias", value, -100, 100));
  }
  const temperature = within("temperature", options.temperature ?? 1, 0, 100);
  return {
    // Dividing by less than this overflows, and the likeliest token wins with certainty long before.
    temperature: temperature < 1e-4 ? 0 : temperature,
    topP: above("topP", options.topP ?? 1, 0, 1),
    topK: Math.max(0, integer("topK", options.topK ?? 0)),
    minP: within("minP", options.minP ?? 0, 0, 1),
    repetitionPenalty: above("repetitionPenalty", options.repetitionPenalty ?? 1, 0, 100),
    presencePenalty: within("presencePenalty", options.presencePenalty ?? 0, -2, 2),
    frequencyPenalty: within("frequencyPenalty", options.frequencyPenalty ?? 0, -2, 2),
    logitBias: bias,
    seed: integer("seed", options.seed ?? pickSeed()),
  };
}

function within(name: string, value: number, low: number, high: number): number {
  if (typeof value === "number" && value >= low && value <= high) return value;
  throw new EngineError("invalid_request", `${name} is ${value}, not in [${low}, ${high}]`);
}

function above(name: string, value: number, low: number, high: number): number {
  if (typeof value === "number" && value > low && value <= high) return value;
  throw new EngineError("invalid_request", `${name} is ${value}, not in (${low}, ${high}]`);
}

function integer(name: string, value: number): number {
  if (Number.isSafeInteger(value)) return value;
  throw new EngineError("invalid_request", `${name} is ${value}, not an integer`);
}
