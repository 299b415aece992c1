import { type BigIntStats, statSync } from "node:fs";
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { EngineError } from "../engine-error.ts";
import { readAdapter } from "../model/adapter-folder.ts";
import type { ModelConfig } from "../model/config-types.ts";
import type { LoadedAdapter } from "../model/lora.ts";

const FILES = ["adapter_config.json", "adapter_model.safetensors"];
const ATTEMPTS = 4;

/** What the files of an adapter folder look like from outside. */
interface FolderState {
  /** Changes whenever the files may have changed. */
  readonly stamp: string;
  /** Size of the files together. */
  readonly bytes: number;
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
 * @throws EngineError `adapter_failed`, with the files' `stamp` in its details where they are at fault
 */
export function readFolder(folder: string, config: ModelConfig, maxBytes: number): ReadAdapter {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const { stamp, bytes } = lookSync(folder);
    if (bytes > maxBytes) {
      const problem = `larger than this engine is set for: ${bytes} bytes of ${maxBytes}`;
      throw new EngineError("adapter_failed", `${folder}: ${problem}`, { stamp });
    }
    const adapter = read(folder, config, stamp);
    if (lookSync(folder).stamp === stamp) return { ...adapter, stamp };
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

function read(folder: string, config: ModelConfig, stamp: string): LoadedAdapter {
  try {
    return readAdapter(folder, config);
  } catch (error) {
    throw new EngineError("adapter_failed", (error as Error).message, { stamp });
  }
}

function stateOf(stats: readonly BigIntStats[]): FolderState {
  const parts = stats.map((file) => `${file.dev}:${file.ino}:${file.size}:${file.mtimeNs}:${file.ctimeNs}`);
  return { stamp: parts.join("|"), bytes: Number(stats.reduce((sum, file) => sum + file.size, 0n)) };
}

function missing(folder: string, error: unknown): EngineError {
  const reason = error instanceof Error ? error.message : String(error);
  return new EngineError("adapter_failed", `${folder}: cannot be read as an adapter folder (${reason})`);
}
