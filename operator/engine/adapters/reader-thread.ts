import { parentPort, workerData } from "node:worker_threads";
import { readAdapter } from "../model/adapter-folder.ts";
import type { ModelConfig } from "../model/config-types.ts";
import type { LoadedAdapter } from "../model/lora.ts";
import type { ReaderAnswer } from "./adapter-reader.ts";

const { config } = workerData as { config: ModelConfig };
const port = parentPort!;

port.on("message", ({ id, folder }: { id: number; folder: string }) => {
  try {
    const adapter = readAdapter(folder, config);
    answer({ id, adapter }, buffersOf(adapter));
  } catch (error) {
    answer({ id, error: error instanceof Error ? error.message : String(error) }, []);
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
