import { parentPort, workerData } from "node:worker_threads";
import { EngineError } from "../engine-error.ts";
import type { LoadedAdapter } from "../model/lora.ts";
import type { ReaderAnswer, ReaderQuestion, ReaderSettings } from "./adapter-reader.ts";
import { readFolder } from "./folder-state.ts";
import { KnownHashes } from "./known-hashes.ts";

const { config, hashFile } = workerData as ReaderSettings;
const hashes = new KnownHashes(hashFile);
const port = parentPort!;

port.on("message", ({ id, folder, maxBytes }: ReaderQuestion) => {
  try {
    const adapter = readFolder(folder, config, maxBytes, hashes);
    answer({ id, adapter }, buffersOf(adapter));
  } catch (error) {
    const { message, details } = EngineError.from(error, "adapter_failed");
    answer({ id, error: message, details }, []);
  }
});

function answer(message: ReaderAnswer, transfer: ArrayBuffer[]): void {
  port.postMessage(message, transfer);
}

function buffersOf(adapter: LoadedAdapter): ArrayBuffer[] {
  const factors = adapter.layers.flatMap((layer) => Object.values(layer));
  return [...new Set(factors.flatMap(({ a, b }) => [a.buffer as ArrayBuffer, b.buffer as ArrayBuffer]))];
}
