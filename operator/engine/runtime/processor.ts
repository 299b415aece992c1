import { readFileSync } from "node:fs";

let flags: string | undefined;

/** Whether this processor has matrix units for 8-bit numbers (Intel AMX), as far as Linux says. */
export function hasMatrixUnits(): boolean {
  return process.arch === "x64" && / amx_int8( |$)/m.test(processorFlags());
}

/**
 * Whether sums of 8-bit products are exact here. On x64 processors without VNNI or AMX two products are added in 16 bits
 * and cut off at their largest number (ONNX Runtime, "Quantize ONNX models", on U8S8 and saturation): results are then
 * wrong by a fifth. False where the system does not say what the processor has.
 */
export function sums8BitProducts(): boolean {
  return process.arch !== "x64" || / (avx512_vnni|avx_vnni|amx_int8)( |$)/m.test(processorFlags());
}

function processorFlags(): string {
  try {
    flags ??= process.platform === "linux" ? readFileSync("/proc/cpuinfo", "utf8") : "";
  } catch {
    flags = "";
  }
  return flags;
}
