/** Element types of ONNX tensors with their code in `TensorProto.DataType` (onnx.proto3). */
export const ELEMENT_TYPES = {
  float32: 1,
  uint8: 2,
  int8: 3,
  uint16: 4,
  int16: 5,
  int32: 6,
  int64: 7,
  bool: 9,
  float16: 10,
  float64: 11,
  uint32: 12,
  uint64: 13,
  bfloat16: 16,
  uint4: 21,
  int4: 22,
} as const;

export type ElementType = keyof typeof ELEMENT_TYPES;

const BITS: Record<ElementType, number> = {
  float32: 32,
  uint8: 8,
  int8: 8,
  uint16: 16,
  int16: 16,
  int32: 32,
  int64: 64,
  bool: 8,
  float16: 16,
  float64: 64,
  uint32: 32,
  uint64: 64,
  bfloat16: 16,
  uint4: 4,
  int4: 4,
};

/** Bytes that `count` packed elements of `type` take; two 4-bit elements share a byte. */
export function bytesOf(type: ElementType, count: number): number {
  return Math.ceil((BITS[type] * count) / 8);
}
