import { readFileSync } from "node:fs";

let found: boolean | undefined;

/** Whether this processor has matrix units for 8-bit numbers (Intel AMX), as far as Linux says. */
export function hasMatrixUnits(): boolean {
  found ??= process.platform === "linux" && process.arch === "x64" && / amx_int8( |$)/m.test(processorFlags());
  return found;
}

function processorFlags(): string {
  try {
    return readFileSync("/proc/cpuinfo", "utf8");
  } catch {
    return "";
  }
}
