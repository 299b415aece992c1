import { ByteWriter } from "../protocol/bytes.ts";
import { keccak } from "../protocol/keccak.ts";
import { lasso } from "./lasso.ts";

/** Up to so many clusters each is left out in turn; above, a linear surrogate is fitted to random masks. */
const LEAVE_ONE_OUT_CLUSTERS = 8;
/** Random masks for the surrogate and its penalty per token (Cohen-Wang et al. 2024, section 3). */
const MASKS = 64;
const PENALTY = 0.01;

/** Scores that an effect is measured from. */
export interface AblationPlan {
  readonly method: "leave-one-out" | "surrogate";
  /** Sources that go together, in order of registration. */
  readonly clusters: readonly (readonly number[])[];
  /** For each score the sources that stay. The first one keeps all. */
  readonly masks: readonly (readonly boolean[])[];
}

/**
 * Which prompts must be scored. For each cluster there are the prompt without it, and the prompts in which its sources
 * come back one by one in order of registration; above eight clusters also 64 prompts with a random half of them.
 *
 * @param sources How many there are.
 * @param seed 32 bytes from which the random masks follow.
 */
export function planAblations(
  sources: number,
  clusters: readonly (readonly number[])[],
  seed: Uint8Array,
): AblationPlan {
  const all = new Array<boolean>(sources).fill(true);
  const without = (left: readonly number[]) => all.map((_, source) => !left.includes(source));
  const surrogate = clusters.length > LEAVE_ONE_OUT_CLUSTERS;
  const masks = [all];
  if (surrogate) {
    const bits = new RandomBits(seed);
    for (let i = 0; i < MASKS; i++) masks.push(without(clusters.filter(() => !bits.next()).flat()));
  }
  for (const cluster of clusters) {
    if (surrogate && cluster.length === 1) continue;
    for (let back = 0; back < cluster.length; back++) masks.push(without(cluster.slice(back)));
  }
  return { method: surrogate ? "surrogate" : "leave-one-out", clusters, masks };
}

/**
 * Effect of each source in millionths of a nat, from the scores of a plan.
 *
 * A cluster's effect is the answer's score with everything minus its score without the cluster, or the surrogate's weight.
 * Inside a cluster each source gets what it adds to those registered before it; the parts add up to the cluster's
 * effect, and none is negative if the cluster's is not.
 *
 * @param scores Millionths of a nat, one for each mask.
 * @param tokens Length of the answer.
 */
export function effectsOf(plan: AblationPlan, scores: readonly number[], tokens: number): number[] {
  const effects = new Array<number>(plan.masks[0].length).fill(0);
  const surrogate = plan.method === "surrogate";
  const weights = surrogate ? surrogateWeights(plan, scores, tokens) : [];
  let at = surrogate ? 1 + MASKS : 1;
  plan.clusters.forEach((cluster, c) => {
    if (surrogate && cluster.length === 1) {
      effects[cluster[0]] = weights[c];
      return;
    }
    const rising = [...scores.slice(at, at + cluster.length), scores[0]];
    at += cluster.length;
    const total = surrogate ? weights[c] : scores[0] - rising[0];
    const added = cluster.map((_, i) => rising[i + 1] - rising[i]);
    divide(total, added).forEach((effect, i) => {
      effects[cluster[i]] = effect;
    });
  });
  return effects;
}

/** Divides a cluster's effect by what its sources added; a lone source gets all, and a loss is not divided. */
function divide(total: number, added: readonly number[]): number[] {
  if (added.length === 1 || total <= 0) return added.map((_, i) => (i === 0 ? total : 0));
  const gains = added.map((gain) => BigInt(Math.max(0, gain)));
  const sum = gains.reduce((a, b) => a + b, 0n);
  if (sum === 0n) return added.map((_, i) => (i === 0 ? total : 0));
  const parts = gains.map((gain) => Number((BigInt(total) * gain) / sum));
  const rest = total - parts.reduce((a, b) => a + b, 0);
  parts[gains.findIndex((gain) => gain > 0n)] += rest;
  return parts;
}

function surrogateWeights(plan: AblationPlan, scores: readonly number[], tokens: number): number[] {
  const rows = plan.masks.slice(1, 1 + MASKS).map((mask) => plan.clusters.map(([first]) => (mask[first] ? 1 : 0)));
  const y = scores.slice(1, 1 + MASKS).map((score) => score / 1e6 / tokens);
  return lasso(rows, y, PENALTY).map((weight) => Math.round(weight * tokens * 1e6) + 0);
}

/** Fair bits from Keccak-256 of seed and counter. */
class RandomBits {
  readonly #seed: Uint8Array;
  #block: Uint8Array = new Uint8Array(0);
  #bit = 0;
  #counter = 0;

  constructor(seed: Uint8Array) {
    this.#seed = seed;
  }

  next(): boolean {
    if (this.#bit === this.#block.length * 8) {
      this.#block = keccak(
        new ByteWriter(36)
          .raw(this.#seed, 32)
          .u32(this.#counter++)
          .finish(),
      );
      this.#bit = 0;
    }
    const bit = (this.#block[this.#bit >> 3] >> (this.#bit & 7)) & 1;
    this.#bit += 1;
    return bit === 1;
  }
}
