/** bfloat16 is the upper half of a float32. */
export function bfloat16ToFloat32(source: Uint16Array): Float32Array {
  const bits = new Uint32Array(source.length);
  for (let i = 0; i < source.length; i++) bits[i] = source[i] << 16;
  return new Float32Array(bits.buffer);
}

/** IEEE-754 half to single; subnormals, infinities and NaN included. */
export function float16ToFloat32(source: Uint16Array): Float32Array {
  const bits = new Uint32Array(source.length);
  const out = new Float32Array(bits.buffer);
  for (let i = 0; i < source.length; i++) {
    const half = source[i];
    const sign = (half & 0x8000) << 16;
    const exponent = (half >> 10) & 31;
    const fraction = half & 1023;
    if (exponent === 0) out[i] = (sign === 0 ? 1 : -1) * fraction * 2 ** -24;
    else bits[i] = sign | ((exponent === 31 ? 255 : exponent + 112) << 23) | (fraction << 13);
  }
  return out;
}

/** Index of the first value that is NaN or infinite, or -1. */
export function firstNonFinite(values: Float32Array): number {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  for (let i = 0; i < bits.length; i++) if ((bits[i] & 0x7f800000) === 0x7f800000) return i;
  return -1;
}
