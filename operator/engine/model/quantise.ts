/** Weights that share one scale. */
export const QUANT_BLOCK = 32;

export type QuantBits = 4 | 8;

export interface QuantisedMatrix {
  /** `[rows, columns / 32, 32 · bits / 8]`: unsigned codes, for 4 bits the even column in the low half of a byte. */
  readonly codes: Uint8Array;
  /** `[rows, columns / 32]`. A weight is (code - 2^(bits - 1)) · scale. */
  readonly scales: Float32Array;
}

/**
 * Symmetric quantisation in blocks of 32 columns, as ONNX Runtime's MatMulNBits reads it without zero points.
 *
 * With 4 bits the value of largest magnitude maps to -8, so that all 16 codes are used; with 8 bits to ±127.
 * @throws if `columns` is not a multiple of 32.
 */
export function quantise(weights: Float32Array, columns: number, bits: QuantBits): QuantisedMatrix {
  if (columns % QUANT_BLOCK !== 0) throw new Error(`${columns} columns are not a multiple of ${QUANT_BLOCK}.`);
  const blocks = weights.length / QUANT_BLOCK;
  const scales = new Float32Array(blocks);
  const codes = new Uint8Array((weights.length * bits) / 8);
  for (let block = 0; block < blocks; block++) {
    const start = block * QUANT_BLOCK;
    scales[block] = blockScale(weights, start, bits);
    const inverse = scales[block] === 0 ? 0 : 1 / scales[block];
    if (bits === 4) {
      for (let i = 0; i < QUANT_BLOCK; i += 2) {
        const low = code4(weights[start + i] * inverse);
        codes[(start + i) / 2] = low | (code4(weights[start + i + 1] * inverse) << 4);
      }
    } else {
      for (let i = 0; i < QUANT_BLOCK; i++) codes[start + i] = Math.round(weights[start + i] * inverse) + 128;
    }
  }
  return { codes, scales };
}

function blockScale(weights: Float32Array, start: number, bits: QuantBits): number {
  let extreme = 0;
  for (let i = start; i < start + QUANT_BLOCK; i++) if (Math.abs(weights[i]) > Math.abs(extreme)) extreme = weights[i];
  return bits === 4 ? extreme / -8 : Math.abs(extreme) / 127;
}

function code4(scaled: number): number {
  return Math.min(15, Math.max(0, Math.round(scaled) + 8));
}

/** The float32 weights that quantised ones stand for. */
export function dequantise({ codes, scales }: QuantisedMatrix, bits: QuantBits): Float32Array {
  const weights = new Float32Array((codes.length * 8) / bits);
  for (const [block, scale] of scales.entries()) {
    const start = block * QUANT_BLOCK;
    if (bits === 8) {
      for (let i = start; i < start + QUANT_BLOCK; i++) weights[i] = (codes[i] - 128) * scale;
    } else {
      for (let i = start; i < start + QUANT_BLOCK; i += 2) {
        const pair = codes[i >> 1];
        weights[i] = ((pair & 15) - 8) * scale;
        weights[i + 1] = ((pair >> 4) - 8) * scale;
      }
    }
  }
  return weights;
}

/** A matrix of which every row of outputs has one scale, transposed. */
export interface TransposedInt8 {
  /** `[columns, rows]`, -127 to 127. */
  readonly codes: Int8Array;
  /** `[rows]`. A weight is code · scale. */
  readonly scales: Float32Array;
}

/** Columns that are transposed together, so that both sides stay in the cache. */
const TILE = 64;

/** Symmetric quantisation to 8 bits with one scale a row. @param weights `[rows, columns]`, row major */
export function quantiseRows(weights: Float32Array, columns: number): TransposedInt8 {
  const rows = weights.length / columns;
  const scales = new Float32Array(rows);
  const codes = new Int8Array(weights.length);
  for (let row = 0; row < rows; row++) {
    let extreme = 0;
    for (let i = row * columns; i < (row + 1) * columns; i++) extreme = Math.max(extreme, Math.abs(weights[i]));
    scales[row] = extreme / 127;
  }
  for (let first = 0; first < rows; first += TILE) {
    const end = Math.min(rows, first + TILE);
    for (let column = 0; column < columns; column++) {
      for (let row = first; row < end; row++) {
        const scale = scales[row];
        codes[column * rows + row] = scale === 0 ? 0 : Math.round(weights[row * columns + column] / scale);
      }
    }
  }
  return { codes, scales };
}
