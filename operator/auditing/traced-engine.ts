import { decodeTrace } from "../attribution/decode-trace.ts";
import { MalformedTrace } from "../attribution/trace.ts";
import type { EngineInfo } from "../engine/engine.ts";
import type { EngineSettings } from "../engine/worker/settings.ts";

/** What a trace says of the function that its engine computed; nothing for what is no trace. */
export function tracedFunction(trace: Uint8Array): Pick<EngineInfo, "sparse" | "quantisation"> {
  try {
    const { sparse, quantisation } = decodeTrace(trace).inputs.model;
    return { sparse, quantisation };
  } catch (error) {
    if (error instanceof MalformedTrace) return {};
    throw error;
  }
}

/** Settings under which an engine computes the same function of its model as a trace's. */
export function engineOf(trace: Uint8Array): Pick<EngineSettings, "sparse" | "blockSize" | "quantisation"> {
  const { sparse, quantisation } = tracedFunction(trace);
  return { ...(sparse && { sparse, blockSize: sparse.blockSize }), ...(quantisation && { quantisation }) };
}
