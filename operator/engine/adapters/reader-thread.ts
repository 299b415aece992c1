import { getPriority, setPriority } from "node:os";
import { parentPort, workerData } from "node:worker_threads";
import { EngineError } from "../engine-error.ts";
import { packAdapter } from "./adapter-parcel.ts";
import type { ReaderAnswer, ReaderQuestion, ReaderSettings } from "./adapter-reader.ts";
import { readFolder } from "./folder-state.ts";
import { KnownHashes } from "./known-hashes.ts";

/** A quarter of a core's time where somebody else wants all of it. */
const READER_NICENESS = 5;

const { config, hashFile } = workerData as ReaderSettings;
const hashes = new KnownHashes(hashFile);
const port = parentPort!;

// On Linux this is the thread's own priority. Threads that compute a step wait for the slowest of them, so a core taken
// from one is a core taken from all; reading fits into the pauses between steps.
if (process.platform === "linux") setPriority(0, Math.min(19, getPriority(0) + READER_NICENESS));

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
