import { spawnSync } from "node:child_process";
import { closeSync, mkdirSync, openSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import type { Supervised } from "./supervised.ts";

/** A way to take a node's disk from it, and to give it back. */
export interface FullDisk {
  /** What it is, for people. */
  what: string;
  fill(): void;
  free(): void;
}

/** Room for everything of a node with the tiny model, through the longest storm. */
const SIZE = "256m";

/** A small file system of its own for a folder, which has to be root's to make. Undefined where it cannot be made. */
export class SmallDisk implements FullDisk {
  readonly what = "a file system without room (ENOSPC)";
  readonly #folder: string;
  readonly #ballast: string;

  private constructor(folder: string) {
    this.#folder = folder;
    this.#ballast = join(folder, "ballast");
    process.once("exit", this.#unmount);
  }

  static mount(folder: string): SmallDisk | undefined {
    mkdirSync(folder, { recursive: true });
    const mounted = spawnSync("mount", ["-t", "tmpfs", "-o", `size=${SIZE}`, "tmpfs", folder]);
    return mounted.status === 0 ? new SmallDisk(folder) : undefined;
  }

  /** Takes all that is left, to the last page. */
  fill(): void {
    const file = openSync(this.#ballast, "w");
    try {
      for (const bytes of [1 << 20, 1 << 12]) writeAll(file, Buffer.alloc(bytes));
    } finally {
      closeSync(file);
    }
  }

  free(): void {
    rmSync(this.#ballast, { force: true });
  }

  unmount(): void {
    process.off("exit", this.#unmount);
    this.#unmount();
  }

  // Once nobody uses it any more, should somebody still do so.
  readonly #unmount = () => void spawnSync("umount", ["--lazy", this.#folder]);
}

function writeAll(file: number, block: Buffer): void {
  for (;;) {
    try {
      writeSync(file, block);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOSPC") return;
      throw error;
    }
  }
}

/**
 * A limit of zero bytes on the files that processes write (RLIMIT_FSIZE), which every user may set on processes of their
 * own: each write to a file fails with EFBIG. Undefined where there is no `prlimit` (util-linux).
 */
export class NoWriting implements FullDisk {
  readonly what = "a limit of the operating system on files (EFBIG)";
  readonly #processes: readonly Supervised[];
  #isFull = false;

  private constructor(processes: readonly Supervised[]) {
    this.#processes = processes;
  }

  /** @param processes Those that are to be limited, and may be fewer or others later. */
  static of(processes: readonly Supervised[]): NoWriting | undefined {
    return spawnSync("prlimit", ["--version"]).status === 0 ? new NoWriting(processes) : undefined;
  }

  fill(): void {
    this.#isFull = true;
    this.#set("0:");
  }

  free(): void {
    this.#isFull = false;
    this.#set("unlimited:");
  }

  /** In front of the command of a process that is started now. */
  get wrap(): readonly string[] {
    return this.#isFull ? ["prlimit", "--fsize=0:"] : [];
  }

  #set(limit: string): void {
    for (const { pid } of this.#processes) {
      if (pid !== undefined) spawnSync("prlimit", ["--pid", String(pid), `--fsize=${limit}`]);
    }
  }
}
