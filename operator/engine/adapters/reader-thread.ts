import { parentPort, workerData } from "node:worker_threads";
import { EngineError } from "../engine-error.ts";
import type { ModelConfig } from "../model/config-types.ts";
import type { LoadedAdapter } from "../model/lora.ts";
import type { ReaderAnswer, ReaderQuestion } from "./adapter-reader.ts";
import { readFolder } from "./folder-state.ts";

const { config } = workerData as { config: ModelConfig };
const port = parentPort!;

port.on("message", ({ id, folder, maxBytes }: ReaderQuestion) => {
  try {
    const adapter = readFolder(folder, config, maxBytes);
    answer({ id, adapter }, buffersOf(adapter));
  } catch (error) {
    const { message, details } = EngineError.from(error, "adapter_failed");
    answer({ id, error: message, details }, []);
  }
});

function answer(message: ReaderAnswer, transfer: ArrayBuffer[]): void {
  try {
    port.postMessage(message, transfer);
  } catch {
    // Files of a few kilobytes are read into memory that Node shares among buffers and does not let go of.
    port.postMessage(message);
  }
}

function buffersOf(adapter: LoadedAdapter): ArrayBuffer[] {
  const factors = adapter.layers.flatMap((layer) => Object.values(layer));
  return [...new Set(factors.flatMap(({ a, b }) => [a.buffer as ArrayBuffer, b.buffer as ArrayBuffer]))];
}
