/**
 * Uniform draw in [0, 1) with 53 bits, a pure function of its arguments: the same request draws the same numbers however
 * it was batched, preempted or computed again.
 *
 * Two 32-bit words are mixed from (seed, stream, position) by the finaliser of MurmurHash3 (Appleby, 2011), chained so
 * that every input bit reaches every output bit.
 *
 * @param seed any safe integer, negative ones included
 * @param stream separates choices of one request
 * @param position index of the drawn token
 */
export function uniform(seed: number, stream: number, position: number): number {
  const low = seed >>> 0;
  const high = Math.floor(seed / 0x100000000) >>> 0;
  let state = mix(low ^ 0x9e3779b9);
  state = mix(state ^ high ^ 0x85ebca6b);
  state = mix((state + Math.imul(stream + 1, 0x632be5ab)) >>> 0);
  state = mix((state + Math.imul(position + 1, 0x9e3779b1)) >>> 0);
  const second = mix(state ^ 0x5bd1e995 ^ position);
  return ((state >>> 5) * 0x4000000 + (second >>> 6)) / 0x20000000000000;
}

function mix(value: number): number {
  let h = value >>> 0;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}
