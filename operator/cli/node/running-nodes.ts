import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { takeWriterLock } from "../../settlement/journal/writer-lock.ts";

/** A node of this machine. */
export interface RunningProcess {
  pid: number;
  roles: string[];
}

/**
 * Says that a node runs in this process. A lock of the operating system tells others that it is still so: a file left by
 * a process that was killed names nobody.
 *
 * @returns What takes it back.
 */
export function announceNode(data: string, roles: string[]): () => void {
  const folder = join(data, "nodes");
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const file = join(folder, `${process.pid}.json`);
  const lock = takeWriterLock(file);
  writeFileSync(file, JSON.stringify({ pid: process.pid, roles } satisfies RunningProcess));
  return () => {
    remove(file);
    lock.release();
  };
}

/** The nodes that run with this data folder. */
export function runningNodes(data: string): RunningProcess[] {
  const folder = join(data, "nodes");
  let names: string[];
  try {
    names = readdirSync(folder).filter((name) => /^\d+\.json$/.test(name));
  } catch {
    return [];
  }
  return names.flatMap((name) => {
    const file = join(folder, name);
    try {
      takeWriterLock(file).release();
    } catch {
      return JSON.parse(readFileSync(file, "utf8")) as RunningProcess;
    }
    remove(file);
    return [];
  });
}

function remove(file: string): void {
  rmSync(file, { force: true });
  rmSync(`${file}.lock`, { force: true });
}
