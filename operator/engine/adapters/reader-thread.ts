import { parentPort, workerData } from "node:worker_threads";
import { EngineError } from "../engine-error.ts";
import { packAdapter } from "./adapter-parcel.ts";
import type { ReaderAnswer, ReaderQuestion, ReaderSettings } from "./adapter-reader.ts";
import { readFolder } from "./folder-state.ts";
import { KnownHashes } from "./known-hashes.ts";

const { config, hashFile } = workerData as ReaderSettings;
const hashes = new KnownHashes(hashFile);
const port = parentPort!;

port.on("message", ({ id, folder, maxBytes, spare }: ReaderQuestion) => {
  try {
    const parcel = packAdapter(readFolder(folder, config, maxBytes, hashes, spare));
    answer({ id, parcel }, [parcel.buffer]);
  } catch (error) {
    const { message, details } = EngineError.from(error, "adapter_failed");
    answer({ id, error: message, details }, []);
  }
});

function answer(message: ReaderAnswer, transfer: ArrayBuffer[]): void {
  port.postMessage(message, transfer);
}
