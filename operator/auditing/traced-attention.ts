import { decodeTrace } from "../attribution/decode-trace.ts";
import { MalformedTrace } from "../attribution/trace.ts";
import type { SparseAttention } from "../engine/model/sparse-attention.ts";
import type { EngineSettings } from "../engine/worker/settings.ts";

/** What the answer's tokens attended to by its trace; undefined for all before them, and for what is no trace. */
export function tracedSparse(trace: Uint8Array): SparseAttention | undefined {
  try {
    return decodeTrace(trace).inputs.model.sparse;
  } catch (error) {
    if (error instanceof MalformedTrace) return undefined;
    throw error;
  }
}

/** Settings under which an engine attends to the same. */
export function attendingTo(sparse: SparseAttention | undefined): Pick<EngineSettings, "sparse" | "blockSize"> {
  return sparse ? { sparse, blockSize: sparse.blockSize } : {};
}
