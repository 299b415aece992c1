import { LORA_TARGETS, type LoraFactors, type LoraTarget } from "../model/lora.ts";
import type { ReadAdapter } from "./folder-state.ts";

/** Numbers of one matrix in a parcel: layer, target, rank, first float and length of `a`, the same of `b`. */
const FIELDS = 7;

/**
 * An adapter on its way between threads: one buffer and a short list of what lies where. Sending its hundreds of
 * arrays one by one takes longer than copying their contents.
 */
export interface AdapterParcel {
  readonly hash: string;
  readonly rank: number;
  readonly bytes: number;
  readonly stamp: string;
  readonly layers: number;
  readonly buffer: ArrayBuffer;
  readonly places: Int32Array;
}

/** @param adapter one whose factors lie in one buffer, as a reader makes them */
export function packAdapter({ hash, rank, bytes, stamp, layers }: ReadAdapter): AdapterParcel {
  const places: number[] = [];
  let buffer = new ArrayBuffer(0);
  for (const [layer, factors] of layers.entries()) {
    for (const [target, { rank: own, a, b }] of Object.entries(factors)) {
      const index = LORA_TARGETS.indexOf(target as LoraTarget);
      places.push(layer, index, own, a.byteOffset / 4, a.length, b.byteOffset / 4, b.length);
      buffer = a.buffer as ArrayBuffer;
    }
  }
  return { hash, rank, bytes, stamp, layers: layers.length, buffer, places: Int32Array.from(places) };
}

/** What {@link packAdapter} was given, over the parcel's buffer. */
export function unpackAdapter({ hash, rank, bytes, stamp, layers, buffer, places }: AdapterParcel): ReadAdapter {
  const unpacked = Array.from({ length: layers }, (): Partial<Record<LoraTarget, LoraFactors>> => ({}));
  for (let at = 0; at < places.length; at += FIELDS) {
    const [layer, target, own, a, aLength, b, bLength] = places.subarray(at, at + FIELDS);
    unpacked[layer][LORA_TARGETS[target]] = {
      rank: own,
      a: new Float32Array(buffer, 4 * a, aLength),
      b: new Float32Array(buffer, 4 * b, bLength),
    };
  }
  return { hash, rank, bytes, stamp, layers: unpacked };
}
