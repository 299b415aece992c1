import type { ParameterLayout } from "../parameters.ts";
import { hash32 } from "../random.ts";

/**
 * Short vectors in place of long gradients, one block per matrix, whose products are in expectation those of the
 * gradients: each coordinate goes to one seeded place with a seeded sign (feature hashing, Weinberger et al. 2009).
 * A matrix with no more numbers than the block is kept as it is.
 */
export class GradientSketch {
  /** Where each matrix' block starts, and the end of the last. */
  readonly starts: readonly number[];
  /** Place of each coordinate; the sign is in `signs`. */
  private readonly places: Int32Array;
  private readonly signs: Int8Array;

  /** @param width numbers per matrix. */
  constructor(layout: ParameterLayout, width: number, seed: number) {
    this.places = new Int32Array(layout.size);
    this.signs = new Int8Array(layout.size);
    const starts = [0];
    for (const { name, offset, size } of layout.parameters) {
      const start = starts[starts.length - 1];
      const block = Math.min(width, size);
      // A stream of hashes per matrix, mixed from one: hashing a text per coordinate would take seconds.
      const base = hash32(`sketch ${seed} ${name}`);
      for (let i = 0; i < size; i++) {
        const hash = mix(base + Math.imul(i, 0x9e3779b1));
        this.places[offset + i] = start + (size <= width ? i : hash % block);
        this.signs[offset + i] = size <= width || hash >>> 31 === 0 ? 1 : -1;
      }
      starts.push(start + block);
    }
    this.starts = starts;
  }

  /** Numbers in a sketch. */
  get size(): number {
    return this.starts[this.starts.length - 1];
  }

  /** Sketch of a gradient of the whole layout. */
  of(gradient: Float32Array): Float32Array {
    const out = new Float32Array(this.size);
    for (let i = 0; i < gradient.length; i++) out[this.places[i]] += this.signs[i] * gradient[i];
    return out;
  }
}

function mix(value: number): number {
  let h = value >>> 0;
  h = Math.imul(h ^ (h >>> 16), 0x7feb352d);
  h = Math.imul(h ^ (h >>> 15), 0x846ca68b);
  return (h ^ (h >>> 16)) >>> 0;
}
