import { type BigIntStats, statSync } from "node:fs";
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { EngineError } from "../engine-error.ts";
import { readAdapter } from "../model/adapter-folder.ts";
import type { ModelConfig } from "../model/config-types.ts";
import type { LoadedAdapter } from "../model/lora.ts";
import type { KnownHashes } from "./known-hashes.ts";

const FILES = ["adapter_config.json", "adapter_model.safetensors"];
const ATTEMPTS = 4;
/**
 * Files that changed less than so many milliseconds before they were looked at may change again without a new stamp,
 * where times are coarse (2 s on FAT): their hash is not remembered.
 */
const SETTLED_MS = 3000;

/** What the files of an adapter folder look like from outside. */
interface FolderState {
  /** Changes whenever the files may have changed. */
  readonly stamp: string;
  /** Size of the files together. */
  readonly bytes: number;
  /** When they changed last, milliseconds since 1970. */
  readonly changed: number;
}

/** An adapter, and what its folder looked like while it was read. */
export interface ReadAdapter extends LoadedAdapter {
  readonly stamp: string;
}

/**
 * Looks at an adapter folder without reading it: inode, size, and both times in nanoseconds (the change time cannot be
 * set back by a program).
 *
 * @throws EngineError `adapter_failed` where a file is missing
 */
export async function lookAtFolder(folder: string): Promise<FolderState> {
  try {
    return stateOf(await Promise.all(FILES.map((name) => stat(join(folder, name), { bigint: true }))));
  } catch (error) {
    throw missing(folder, error);
  }
}

/**
 * Reads a folder until its files did not change meanwhile, blocking.
 *
 * @param maxBytes larger files are refused without being read: they could take any amount of memory
 * @param hashes content hashes of folders that have not changed since they were read; new ones are added
 * @param spare memory that nobody uses any more, to read into where it has the right size
 * @throws EngineError `adapter_failed`, with the files' `stamp` in its details where they are at fault
 */
export function readFolder(
  folder: string,
  config: ModelConfig,
  maxBytes: number,
  hashes?: KnownHashes,
  spare?: ArrayBuffer,
): ReadAdapter {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const now = Date.now();
    const { stamp, bytes, changed } = lookSync(folder);
    if (bytes > maxBytes) {
      const problem = `larger than this engine is set for: ${bytes} bytes of ${maxBytes}`;
      throw new EngineError("adapter_failed", `${folder}: ${problem}`, { stamp });
    }
    const adapter = read(folder, config, stamp, { knownHash: hashes?.get(folder, stamp), spare });
    if (lookSync(folder).stamp !== stamp) continue;
    if (now - changed > SETTLED_MS) hashes?.add(folder, stamp, adapter.hash);
    return { ...adapter, stamp };
  }
  throw new EngineError("adapter_failed", `${folder} changes while it is read`);
}

function lookSync(folder: string): FolderState {
  try {
    return stateOf(FILES.map((name) => statSync(join(folder, name), { bigint: true })));
  } catch (error) {
    throw missing(folder, error);
  }
}

function read(
  folder: string,
  config: ModelConfig,
  stamp: string,
  options: { knownHash?: string; spare?: ArrayBuffer },
): LoadedAdapter {
  try {
    return readAdapter(folder, config, options);
  } catch (error) {
    throw new EngineError("adapter_failed", (error as Error).message, { stamp });
  }
}

function stateOf(stats: readonly BigIntStats[]): FolderState {
  const parts = stats.map((file) => `${file.dev}:${file.ino}:${file.size}:${file.mtimeNs}:${file.ctimeNs}`);
  const bytes = Number(stats.reduce((sum, file) => sum + file.size, 0n));
  const changed = Math.max(...stats.flatMap((file) => [Number(file.mtimeMs), Number(file.ctimeMs)]));
  return { stamp: parts.join("|"), bytes, changed };
}

function missing(folder: string, error: unknown): EngineError {
  const reason = error instanceof Error ? error.message : String(error);
  return new EngineError("adapter_failed", `${folder}: cannot be read as an adapter folder (${reason})`);
}
