/**
 * A stream of pseudo-random numbers that depends on a seed and a label only (xoshiro128**, Blackman and Vigna 2018,
 * seeded by FNV-1a and the finaliser of MurmurHash3).
 *
 * Labelled streams make resuming simple: the numbers of step 812 are those of `seeded(seed, "step", 812)`, whatever
 * was drawn before.
 */
export interface Random {
  /** Uniform in [0, 1) with 32 random bits. */
  next(): number;
  /** Uniform integer in [0, bound). */
  int(bound: number): number;
  /** One element. @throws on an empty list. */
  pick<T>(items: readonly T[]): T;
  /** A new list with the same elements in random order (Fisher and Yates). */
  shuffled<T>(items: readonly T[]): T[];
  /** Standard normal (Box and Muller). */
  normal(): number;
}

/** @param labels name the stream; streams of other labels are independent of it. */
export function seeded(seed: number, ...labels: (string | number)[]): Random {
  const state = new Uint32Array(4);
  let hash = hash32([seed, ...labels].join("\u0000"));
  for (let i = 0; i < 4; i++) {
    hash = (hash + 0x9e3779b9) >>> 0;
    state[i] = finalise(hash);
  }
  let spare: number | undefined;
  const uint32 = (): number => {
    const result = Math.imul(rotate(Math.imul(state[1], 5), 7), 9) >>> 0;
    const t = state[1] << 9;
    state[2] ^= state[0];
    state[3] ^= state[1];
    state[1] ^= state[2];
    state[0] ^= state[3];
    state[2] ^= t;
    state[3] = rotate(state[3], 11);
    return result;
  };
  const random: Random = {
    next: () => uint32() / 2 ** 32,
    int: (bound) => Math.floor((uint32() / 2 ** 32) * bound),
    pick: (items) => {
      if (items.length === 0) throw new Error("Nothing to pick from.");
      return items[random.int(items.length)];
    },
    shuffled: (items) => {
      const list = [...items];
      for (let i = list.length - 1; i > 0; i--) {
        const j = random.int(i + 1);
        [list[i], list[j]] = [list[j], list[i]];
      }
      return list;
    },
    normal: () => {
      if (spare !== undefined) {
        const value = spare;
        spare = undefined;
        return value;
      }
      const radius = Math.sqrt(-2 * Math.log(1 - random.next()));
      const angle = 2 * Math.PI * random.next();
      spare = radius * Math.sin(angle);
      return radius * Math.cos(angle);
    },
  };
  return random;
}

/** FNV-1a over UTF-16 code units with MurmurHash3's finaliser: a well-mixed 32-bit hash of a short text. */
export function hash32(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return finalise(hash);
}

function finalise(value: number): number {
  let h = value;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

function rotate(value: number, by: number): number {
  return (value << by) | (value >>> (32 - by));
}
