import { EngineError } from "../engine-error.ts";
import { uniform } from "./random.ts";
import type { SamplingParameters } from "./sampling-parameters.ts";
import type { TokenHistory } from "./token-history.ts";

/** Buckets of one eighth of a unit of scaled logit: 40 units hold everything above e^-40 of the likeliest token. */
const BUCKETS = 320;
const BUCKETS_PER_UNIT = 8;

/**
 * Chooses tokens from logits. One instance serves all sequences of a thread; it owns scratch memory of a vocabulary's
 * size and keeps nothing between calls.
 *
 * Order of operations: grammar mask, logit bias, repetition penalty (Keskar et al. 2019, CTRL, section 4.1), frequency
 * and presence penalty, temperature, min-p, top-k, top-p.
 */
export class Sampler {
  private readonly weights: Float64Array;
  private readonly bucketMass = new Float64Array(BUCKETS + 1);
  private readonly bucketCount = new Int32Array(BUCKETS + 1);

  constructor(vocabSize: number) {
    this.weights = new Float64Array(vocabSize);
  }

  /**
   * @param logits [vocab], changed in place
   * @param mask one bit per token, set where the grammar allows it, least significant bit first
   * @param stream index of the choice within its request
   * @param position index of the token within its answer
   * @throws EngineError `failed` where no token has a finite logit
   */
  sample(
    logits: Float32Array,
    parameters: SamplingParameters,
    history: TokenHistory | undefined,
    mask: Int32Array | undefined,
    stream: number,
    position: number,
  ): number {
    if (mask !== undefined) forbid(logits, mask);
    for (const [token, bias] of parameters.logitBias) logits[token] += bias;
    if (history !== undefined) penalise(logits, parameters, history);
    const best = argmax(logits);
    if (best < 0) throw new EngineError("failed", "the model gave no finite logit to any allowed token");
    if (parameters.temperature === 0) return best;
    const draw = uniform(parameters.seed, stream, position);
    return this.draw(logits, logits[best], parameters, draw);
  }

  private draw(logits: Float32Array, max: number, parameters: SamplingParameters, draw: number): number {
    const { temperature, topK, topP, minP } = parameters;
    const { weights, bucketMass, bucketCount } = this;
    const narrowed = topK > 0 || topP < 1;
    bucketMass.fill(0);
    bucketCount.fill(0);
    let total = 0;
    for (let i = 0; i < logits.length; i++) {
      const below = (max - logits[i]) / temperature;
      let weight = Math.exp(-below);
      // NaN logits fail this comparison and get no weight.
      if (!(weight >= minP && weight > 0)) weight = 0;
      weights[i] = weight;
      if (weight === 0) continue;
      total += weight;
      if (narrowed) {
        const bucket = Math.min(BUCKETS, Math.floor(below * BUCKETS_PER_UNIT));
        bucketMass[bucket] += weight;
        bucketCount[bucket]++;
      }
    }
    if (!narrowed) return scan(weights, logits.length, draw * total);
    return this.drawNarrowed(logits, max, parameters, draw, total);
  }

  /** Sorts only the candidates in buckets that top-k or top-p can reach. */
  private drawNarrowed(
    logits: Float32Array,
    max: number,
    { temperature, topK, topP }: SamplingParameters,
    draw: number,
    total: number,
  ): number {
    const { weights, bucketMass, bucketCount } = this;
    let last = 0;
    let mass = bucketMass[0];
    let count = bucketCount[0];
    // A hair more than asked, so that rounding of the sums cannot lose the token on the border.
    const enough = topP * total * (1 + 1e-12);
    while (last < BUCKETS && (topK > 0 ? count < topK : mass < enough)) {
      last++;
      mass += bucketMass[last];
      count += bucketCount[last];
    }
    const candidates: number[] = [];
    for (let i = 0; i < logits.length; i++) {
      if (weights[i] === 0) continue;
      const bucket = Math.min(BUCKETS, Math.floor(((max - logits[i]) / temperature) * BUCKETS_PER_UNIT));
      if (bucket <= last) candidates.push(i);
    }
    candidates.sort((a, b) => logits[b] - logits[a] || a - b);
    if (topK > 0 && candidates.length > topK) candidates.length = topK;
    let kept = total;
    if (topK > 0) {
      kept = 0;
      for (const token of candidates) kept += weights[token];
    }
    let reached = 0;
    let end = 0;
    while (end < candidates.length && (end === 0 || reached < topP * kept)) reached += weights[candidates[end++]];
    let left = draw * reached;
    for (let i = 0; i < end; i++) {
      left -= weights[candidates[i]];
      if (left < 0) return candidates[i];
    }
    return candidates[end - 1];
  }
}

function scan(weights: Float64Array, length: number, target: number): number {
  let left = target;
  let lastPossible = 0;
  for (let i = 0; i < length; i++) {
    if (weights[i] === 0) continue;
    lastPossible = i;
    left -= weights[i];
    if (left < 0) return i;
  }
  return lastPossible;
}

/** Index of the largest logit, the lowest index among equals; -1 where none is a finite number. */
function argmax(logits: Float32Array): number {
  let best = -1;
  let value = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < logits.length; i++) {
    if (logits[i] > value) {
      value = logits[i];
      best = i;
    }
  }
  return value === Number.POSITIVE_INFINITY ? -1 : best;
}

function forbid(logits: Float32Array, mask: Int32Array): void {
  for (let i = 0; i < logits.length; i++) {
    if (((mask[i >>> 5] >>> (i & 31)) & 1) === 0) logits[i] = Number.NEGATIVE_INFINITY;
  }
}

function penalise(logits: Float32Array, parameters: SamplingParameters, history: TokenHistory): void {
  const { repetitionPenalty, presencePenalty, frequencyPenalty } = parameters;
  if (repetitionPenalty !== 1) {
    for (const token of history.seen) {
      const logit = logits[token];
      logits[token] = logit > 0 ? logit / repetitionPenalty : logit * repetitionPenalty;
    }
  }
  if (presencePenalty !== 0 || frequencyPenalty !== 0) {
    for (const [token, count] of history.answerCounts) logits[token] -= presencePenalty + frequencyPenalty * count;
  }
}
