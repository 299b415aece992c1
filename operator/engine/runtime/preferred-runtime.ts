import { cApiRuntime } from "./c-api-runtime.ts";
import { nodeRuntime } from "./node-runtime.ts";
import { ortApi } from "./ort-c-api.ts";
import type { Provider, Runtime } from "./session.ts";

/**
 * The C API where this platform's foreign-function library loads, the Node binding elsewhere and for CUDA, whose
 * provider the C API enables by a call of its own.
 */
export function preferredRuntime(provider: Provider): Runtime {
  if (provider === "cuda") return nodeRuntime;
  try {
    ortApi();
    return cApiRuntime;
  } catch {
    return nodeRuntime;
  }
}
