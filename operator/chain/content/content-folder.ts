import { ByteWriter, fromHex, type Hex, toHex } from "../../protocol/bytes.ts";
import { keccak } from "../../protocol/keccak.ts";
import { ContentError } from "./content-error.ts";

/** A file of a folder that is registered as a whole. */
export interface FolderFile {
  /** Inside the folder, `/` between folders. */
  path: string;
  /** Keccak-256 of the contents. */
  hash: Hex;
  bytes: number;
}

/** Name of the list of a folder's files, which lies beside them. */
export const LIST_NAME = "content.json";
export const MAX_LIST_BYTES = 16 << 20;

const MAX_PATH = 512;

/**
 * The root under which a folder is registered: Keccak-256 over, for each file in order of paths, Keccak-256 of the
 * path's UTF-8 bytes and Keccak-256 of the contents.
 */
export function folderRoot(files: readonly FolderFile[]): Hex {
  const writer = new ByteWriter(64 * files.length);
  for (const { path, hash } of [...files].sort(byPath)) {
    writer.raw(keccak(new TextEncoder().encode(path))).raw(fromHex(hash), 32);
  }
  return toHex(keccak(writer.bytes));
}

/** The text of a folder's list. */
export function writeList(files: readonly FolderFile[]): string {
  return `${JSON.stringify({ files: [...files].sort(byPath) }, null, 1)}\n`;
}

/**
 * Reads a folder's list and holds it against the registered root. Sizes are not under the root: they only say how much
 * to expect.
 *
 * @throws {ContentError} When it is not the list of that root, or a path would lead out of the folder.
 */
export function readList(text: string, root: Hex): FolderFile[] {
  const files = parseList(text);
  if (files.length === 0 || folderRoot(files) !== root.toLowerCase()) {
    throw new ContentError("wrong_hash", `${LIST_NAME} is not the list of ${root}`);
  }
  const folders = new Set(
    files.flatMap(({ path }) => [...path.matchAll(/\//g)].map(({ index }) => path.slice(0, index))),
  );
  if (new Set(files.map(({ path }) => path)).size !== files.length || files.some(({ path }) => folders.has(path))) {
    throw new ContentError("refused", `${LIST_NAME} names a path twice`);
  }
  for (const { path } of files) {
    if (!isSafePath(path)) throw new ContentError("refused", `${JSON.stringify(path)} cannot be a path in a folder`);
  }
  return files;
}

/** Whether a path, given by somebody else, stays in the folder that it is put into, on every system. */
export function isSafePath(path: string): boolean {
  if (path.length === 0 || path.length > MAX_PATH || path.normalize("NFC") !== path) return false;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
  if (/[\\:*?"<>|\x00-\x1f\x7f]/.test(path)) return false;
  return path.split("/").every((segment) => segment !== "" && !/^\.|[. ]$/.test(segment));
}

function parseList(text: string): FolderFile[] {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (error) {
    throw new ContentError("wrong_hash", `${LIST_NAME} is not JSON`, error);
  }
  const files = (parsed as { files?: unknown } | null)?.files;
  if (!Array.isArray(files)) throw new ContentError("wrong_hash", `${LIST_NAME} has no list of files`);
  return files.map((entry) => {
    const { path, hash, bytes } = (entry ?? {}) as Record<string, unknown>;
    const right =
      typeof path === "string" &&
      typeof hash === "string" &&
      /^0x[0-9a-f]{64}$/.test(hash) &&
      Number.isSafeInteger(bytes) &&
      (bytes as number) >= 0;
    if (!right) throw new ContentError("wrong_hash", `${LIST_NAME} has an entry that is no file`);
    return { path, hash: hash as Hex, bytes: bytes as number };
  });
}

function byPath(one: { path: string }, other: { path: string }): number {
  return one.path < other.path ? -1 : 1;
}
