/**
 * Seeded pseudo-random numbers for benchmark weights and arrivals: fast enough to fill half a gigabyte in about a
 * second, and the same on every machine.
 */

/** A generator of 32-bit integers, uniform over the signed range. */
export type Random = () => number;

/** FNV-1a over UTF-16 code units: turns a tensor's name into a seed, so that tensors do not depend on their order. */
export function seedFrom(text: string, seed = 0): number {
  let hash = 0x811c9dc5 ^ seed;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return hash >>> 0 || 1;
}

/** xorshift32 (Marsaglia 2003). `seed` must not be 0; 0 is read as 1. */
export function xorshift32(seed: number): Random {
  let x = seed | 0 || 1;
  return () => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return x | 0;
  };
}

/** A number in [0, 1). */
export function uniform(random: Random): number {
  return (random() >>> 0) / 4294967296;
}

/** Fills `out` with values uniform over `mean ± std·√3`; returns the generator's state, to go on in a next chunk. */
export function fillUniform(out: Float32Array, state: number, mean: number, std: number): number {
  const scale = (std * Math.sqrt(3)) / 2147483648;
  let x = state | 0 || 1;
  for (let i = 0; i < out.length; i++) {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    out[i] = mean + x * scale;
  }
  return x;
}

/**
 * Draws from 0 … count−1 with probability proportional to 1/(rank+1)^exponent (Zipf's law).
 *
 * @returns a function that draws one index per call
 */
export function zipf(count: number, exponent: number, random: Random): () => number {
  const cumulative = new Float64Array(count);
  let total = 0;
  for (let i = 0; i < count; i++) cumulative[i] = total += 1 / (i + 1) ** exponent;
  return () => {
    const target = uniform(random) * total;
    let low = 0;
    let high = count - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (cumulative[middle] > target) high = middle;
      else low = middle + 1;
    }
    return low;
  };
}
