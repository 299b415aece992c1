import { createHash } from "node:crypto";
import { appendFileSync, closeSync, fstatSync, mkdirSync, openSync, readFileSync, rmSync } from "node:fs";
import { dirname, resolve } from "node:path";

/** A line: hex SHA-256 of folder and stamp, hex content hash, first 16 hex digits of SHA-256 over both. */
const LINE = /^([0-9a-f]{64}) ([0-9a-f]{64}) ([0-9a-f]{16})$/;
/** A full file, 15 MB, is begun anew. */
const MAX_LINES = 100_000;
const MAX_BYTES = 2 * MAX_LINES * 148;

/**
 * Content hashes of adapter folders by what their files look like from outside, kept in a file over restarts: a folder
 * that did not change is hashed once. Only a change of the files' stamp can make an entry useless, never wrong.
 */
export class KnownHashes {
  private readonly path: string | undefined;
  private readonly hashes = new Map<string, string>();

  /** @param path file to keep them in, created when needed; without one they last as long as this object */
  constructor(path?: string) {
    const text = path === undefined ? "" : readOwn(path);
    // What others may have written is neither believed nor touched.
    this.path = text === undefined ? undefined : path;
    for (const line of text?.split("\n") ?? []) {
      const [, key, hash, check] = LINE.exec(line) ?? [];
      // A torn or damaged line is skipped: its folder is hashed again.
      if (key !== undefined && check === checkOf(key, hash)) this.hashes.set(key, hash);
    }
    if (this.hashes.size > MAX_LINES || (text?.length ?? 0) > MAX_BYTES) this.forgetAll();
  }

  get(folder: string, stamp: string): string | undefined {
    return this.hashes.get(keyOf(folder, stamp));
  }

  add(folder: string, stamp: string, hash: string): void {
    const key = keyOf(folder, stamp);
    if (this.hashes.get(key) === hash) return;
    if (this.hashes.size >= MAX_LINES) this.forgetAll();
    this.hashes.set(key, hash);
    if (this.path === undefined) return;
    try {
      mkdirSync(dirname(this.path), { recursive: true });
      // The leading line feed ends a line that a crash may have left half written.
      appendFileSync(this.path, `\n${key} ${hash} ${checkOf(key, hash)}\n`, { mode: 0o600 });
    } catch {
      // A full or read-only disk costs time after the next start, nothing else.
    }
  }

  private forgetAll(): void {
    this.hashes.clear();
    if (this.path !== undefined) rmSync(this.path, { force: true });
  }
}

/** A file's text, empty where it does not exist; undefined where another user can have written it. */
function readOwn(path: string): string | undefined {
  let fd: number | undefined;
  try {
    fd = openSync(path, "r");
    const { uid, mode } = fstatSync(fd);
    if (process.getuid !== undefined && (uid !== process.getuid() || (mode & 0o022) !== 0)) return undefined;
    return readFileSync(fd, "latin1");
  } catch {
    return "";
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

function keyOf(folder: string, stamp: string): string {
  return createHash("sha256")
    .update(JSON.stringify([resolve(folder), stamp]))
    .digest("hex");
}

function checkOf(key: string, hash: string): string {
  return createHash("sha256").update(`${key} ${hash}`).digest("hex").slice(0, 16);
}
