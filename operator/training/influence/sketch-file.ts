import { closeSync, openSync, readSync } from "node:fs";
import { SafetensorsFile } from "../../engine/model/safetensors.ts";
import type { ParameterLayout } from "../parameters.ts";
import { GradientSketch } from "./sketch.ts";

/** Bytes of sketches in memory at a time. */
const BLOCK_BYTES = 4 << 20;

/** The gradient sketches of an adapter's training documents, read from disk block by block. */
export class SketchFile {
  /** Documents in the file. */
  readonly count: number;
  /** Makes sketches that can be compared with those in the file. */
  readonly sketch: GradientSketch;
  private readonly fd: number;
  private readonly start: number;

  /** @throws if the file was recorded for another adapter shape. */
  constructor(path: string, layout: ParameterLayout) {
    const file = SafetensorsFile.open(path);
    const { metadata, entries } = file;
    file.close();
    const entry = entries.get("sketches");
    this.sketch = new GradientSketch(layout, Number(metadata.width), Number(metadata.seed));
    if (entry?.dtype !== "F32" || entry.shape.length !== 2 || entry.shape[1] !== this.sketch.size) {
      throw new Error(`${path} does not hold gradient sketches of this adapter.`);
    }
    this.count = entry.shape[0];
    this.start = entry.start;
    this.fd = openSync(path, "r");
  }

  /** Calls `visit` with every document's sketch in order; the array is reused. */
  forEach(visit: (sketch: Float32Array, index: number) => void): void {
    const width = this.sketch.size;
    const rows = Math.max(1, Math.floor(BLOCK_BYTES / (4 * width)));
    const block = new Float32Array(rows * width);
    const bytes = new Uint8Array(block.buffer);
    for (let first = 0; first < this.count; first += rows) {
      const length = Math.min(rows, this.count - first) * width * 4;
      const read = readSync(this.fd, bytes, 0, length, this.start + first * width * 4);
      if (read !== length) throw new Error("The file of gradient sketches ends early.");
      for (let row = 0; row * width * 4 < length; row++) {
        visit(block.subarray(row * width, (row + 1) * width), first + row);
      }
    }
  }

  close(): void {
    closeSync(this.fd);
  }
}
