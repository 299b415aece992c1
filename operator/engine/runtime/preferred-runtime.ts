import { cApiRuntime } from "./c-api-runtime.ts";
import { nodeRuntime } from "./node-runtime.ts";
import { ortApi } from "./ort-c-api.ts";
import type { Runtime } from "./session.ts";

/** The C API where this platform's foreign-function library loads, the Node binding elsewhere. */
export function preferredRuntime(): Runtime {
  try {
    ortApi();
    return cApiRuntime;
  } catch {
    return nodeRuntime;
  }
}
