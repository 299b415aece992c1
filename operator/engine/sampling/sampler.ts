import { EngineError } from "../engine-error.ts";
import { DECAY_END, DECAY_STEPS, decay } from "./decay.ts";
import { uniform } from "./random.ts";
import type { SamplingParameters } from "./sampling-parameters.ts";
import type { TokenHistory } from "./token-history.ts";

/** Tokens are sorted into the steps of the table of `decay`. */
const BUCKETS = DECAY_STEPS * DECAY_END;
/** Tokens that are summed together. */
const STRETCH = 256;

/**
 * Chooses tokens from logits. One instance serves all sequences of a thread; it owns scratch memory of a vocabulary's
 * size and keeps nothing between calls.
 *
 * Order of operations: grammar mask, logit bias, repetition penalty (Keskar et al. 2019, CTRL, section 4.1), frequency
 * and presence penalty, temperature, min-p, top-k, top-p.
 */
export class Sampler {
  private readonly weights: Float64Array;
  private readonly buckets: Uint16Array;
  private readonly bucketMass = new Float64Array(BUCKETS);
  private readonly bucketCount = new Int32Array(BUCKETS);
  private readonly stretches: Float64Array;

  constructor(vocabSize: number) {
    this.weights = new Float64Array(vocabSize);
    this.buckets = new Uint16Array(vocabSize);
    this.stretches = new Float64Array(Math.ceil(vocabSize / STRETCH));
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
    if (topK === 0 && topP === 1) return this.drawFromAll(logits, max, 1 / temperature, minP, draw);
    const mass = this.sortIntoBuckets(logits, max, 1 / temperature, minP);
    if (topK > 0) return this.drawFewest(logits, topK, topP, draw);
    return scan(this.weights, logits.length, draw * this.cutNucleus(logits, topP * mass));
  }

  /** Sums weights by stretches of tokens, and looks only into the stretch that the draw falls into. */
  private drawFromAll(logits: Float32Array, max: number, cold: number, minP: number, draw: number): number {
    const { stretches } = this;
    let total = 0;
    let last = 0;
    for (let at = 0; at < stretches.length; at++) {
      const end = Math.min((at + 1) * STRETCH, logits.length);
      let sum = 0;
      for (let i = at * STRETCH; i < end; i++) sum += weightOf((max - logits[i]) * cold, minP);
      stretches[at] = sum;
      total += sum;
      if (sum > 0) last = at;
    }
    let left = draw * total;
    let at = 0;
    while (at < last && left >= stretches[at]) left -= stretches[at++];
    const end = Math.min((at + 1) * STRETCH, logits.length);
    // Rounding may leave a rest: it belongs to the last token that can be drawn here.
    let token = 0;
    for (let i = at * STRETCH; i < end && left >= 0; i++) {
      const weight = weightOf((max - logits[i]) * cold, minP);
      if (weight > 0) token = i;
      left -= weight;
    }
    return token;
  }

  private sortIntoBuckets(logits: Float32Array, max: number, cold: number, minP: number): number {
    const { weights, buckets, bucketMass, bucketCount } = this;
    bucketMass.fill(0);
    bucketCount.fill(0);
    let total = 0;
    for (let i = 0; i < logits.length; i++) {
      const below = (max - logits[i]) * cold;
      const weight = weightOf(below, minP);
      weights[i] = weight;
      if (weight === 0) continue;
      total += weight;
      const bucket = (below * DECAY_STEPS) | 0;
      buckets[i] = bucket;
      bucketMass[bucket] += weight;
      bucketCount[bucket]++;
    }
    return total;
  }

  /** Top-k, and top-p among those: sorts the tokens of the buckets that hold the k likeliest. */
  private drawFewest(logits: Float32Array, topK: number, topP: number, draw: number): number {
    const { weights, buckets, bucketCount } = this;
    let last = 0;
    for (let count = bucketCount[0]; last < BUCKETS - 1 && count < topK; ) count += bucketCount[++last];
    const kept: number[] = [];
    for (let i = 0; i < logits.length; i++) if (weights[i] > 0 && buckets[i] <= last) kept.push(i);
    kept.sort((a, b) => logits[b] - logits[a] || a - b);
    if (kept.length > topK) kept.length = topK;
    let mass = 0;
    for (const token of kept) mass += weights[token];
    let reached = 0;
    let end = 0;
    while (end < kept.length && (end === 0 || reached < topP * mass)) reached += weights[kept[end++]];
    let left = draw * reached;
    for (let i = 0; i < end; i++) {
      left -= weights[kept[i]];
      if (left < 0) return kept[i];
    }
    return kept[end - 1];
  }

  /**
   * Top-p: takes the weight of every token outside the nucleus (Holtzman et al. 2020). Whole buckets are in or out; only
   * the one on the border is sorted.
   *
   * @returns the mass that is left
   */
  private cutNucleus(logits: Float32Array, wanted: number): number {
    const { weights, buckets, bucketMass } = this;
    let border = 0;
    let mass = 0;
    while (border < BUCKETS - 1 && mass + bucketMass[border] < wanted) mass += bucketMass[border++];
    const doubtful: number[] = [];
    for (let i = 0; i < logits.length; i++) {
      if (weights[i] === 0 || buckets[i] < border) continue;
      if (buckets[i] === border) doubtful.push(i);
      else weights[i] = 0;
    }
    doubtful.sort((a, b) => logits[b] - logits[a] || a - b);
    for (const token of doubtful) {
      if (mass >= wanted && mass > 0) weights[token] = 0;
      else mass += weights[token];
    }
    return mass;
  }
}

/** Weight of a token whose scaled logit is this far below the likeliest; NaN fails the comparisons and gets none. */
function weightOf(below: number, minP: number): number {
  const weight = below < DECAY_END ? decay(below) : 0;
  return weight >= minP ? weight : 0;
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
