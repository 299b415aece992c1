import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { basename, extname, join, relative, sep } from "node:path";
import { CONFIG_LIMITS, readJsonObject } from "../../engine/model/json-file.ts";
import { ByteWriter, type Hex, toHex } from "../../protocol/bytes.ts";
import { keccak } from "../../protocol/keccak.ts";
import { TrainingDataError } from "./training-data-error.ts";

/** A file of a contribution. */
export interface SourceFile {
  /** Path inside the contribution, `/` between folders. */
  readonly path: string;
  readonly bytes: Uint8Array;
}

/** What one contributor gave. */
export interface ContributionFolder {
  /** Id in the protocol's space, or 0 while it is not registered. */
  readonly id: number;
  /** Whom people see: the name in `datanet.json`, or the folder's. */
  readonly contributor: string;
  /** Keccak-256 over paths and contents: see {@link contentRoot}. */
  readonly contentRoot: Hex;
  /** In order of their paths. */
  readonly files: readonly SourceFile[];
}

/** A DataNet on disk. */
export interface DataNetFolder {
  /** Id in the protocol's space, or 0 while it is not registered. */
  readonly id: number;
  readonly version: number;
  readonly name: string;
  readonly contributions: readonly ContributionFolder[];
}

/** Files that training can read. */
const EXTENSIONS = new Set([".jsonl", ".md", ".txt"]);
const MAX_FILE_BYTES = 256 << 20;

/**
 * Reads a DataNet folder: `datanet.json` with id, version, name and contributions (`id`, `contributor`, `path`), or,
 * without that file, every folder inside as a contribution, or else the folder itself as the only one.
 *
 * Files other than .jsonl, .md and .txt, and hidden ones, are left out.
 * @throws TrainingDataError when there is nothing to train on, or a path leads outside the folder.
 */
export function readDataNetFolder(folder: string): DataNetFolder {
  if (!existsSync(folder) || !statSync(folder).isDirectory()) {
    throw new TrainingDataError(folder, "is not a folder; name the DataNet's folder");
  }
  const manifest = join(folder, "datanet.json");
  const net = existsSync(manifest) ? readManifest(folder, manifest) : undefined;
  const parts = net?.parts ?? foldersOf(folder);
  const contributions = parts.map(({ id, contributor, path }) => {
    const files = readFiles(join(folder, path));
    if (files.length === 0) throw new TrainingDataError(join(folder, path), "holds no .jsonl, .md or .txt file");
    return { id, contributor, files, contentRoot: contentRoot(files) };
  });
  return { id: net?.id ?? 0, version: net?.version ?? 0, name: net?.name ?? basename(folder), contributions };
}

/**
 * Root of a contribution's content: Keccak-256 over, for each file in order of paths, Keccak-256 of the path's UTF-8
 * bytes and Keccak-256 of the contents.
 */
export function contentRoot(files: readonly SourceFile[]): Hex {
  const ordered = [...files].sort((a, b) => (a.path < b.path ? -1 : 1));
  const writer = new ByteWriter(64 * ordered.length);
  for (const { path, bytes } of ordered) {
    writer.raw(keccak(new TextEncoder().encode(path))).raw(keccak(bytes));
  }
  return toHex(keccak(writer.bytes));
}

interface Part {
  id: number;
  contributor: string;
  path: string;
}

function readManifest(folder: string, path: string): { id: number; version: number; name: string; parts: Part[] } {
  const json = readJsonObject(path, CONFIG_LIMITS);
  const ids = { min: 0, max: 2 ** 32 - 1 };
  const list = json.get("contributions");
  if (!Array.isArray(list) || list.length === 0) return json.fail("contributions", "must list at least one");
  const parts = list.map((entry, i): Part => {
    const { id = 0, contributor, path: inner } = (entry ?? {}) as Record<string, unknown>;
    if (typeof inner !== "string" || typeof contributor !== "string" || !Number.isInteger(id)) {
      return json.fail(`contributions[${i}]`, "needs contributor and path as text, and id as a number if it has one");
    }
    if (relative(folder, join(folder, inner)).split(sep)[0] === "..") {
      return json.fail(`contributions[${i}]`, `leads outside the folder: ${inner}`);
    }
    return { id: id as number, contributor, path: inner };
  });
  return { id: json.integer("id", ids, 0), version: json.integer("version", ids, 0), name: json.string("name"), parts };
}

function foldersOf(folder: string): Part[] {
  const inner = readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && !entry.name.startsWith("."))
    .map(({ name }) => ({ id: 0, contributor: name, path: name }))
    .sort((a, b) => (a.path < b.path ? -1 : 1));
  return inner.length > 0 ? inner : [{ id: 0, contributor: basename(folder), path: "." }];
}

function readFiles(folder: string): SourceFile[] {
  if (!existsSync(folder)) throw new TrainingDataError(folder, "does not exist");
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && !entry.name.startsWith(".") && EXTENSIONS.has(extname(entry.name)))
    .map((entry) => {
      const full = join(entry.parentPath, entry.name);
      if (statSync(full).size > MAX_FILE_BYTES) throw new TrainingDataError(full, "is larger than 256 MiB");
      return { path: relative(folder, full).split(sep).join("/"), bytes: readFileSync(full) };
    })
    .sort((a, b) => (a.path < b.path ? -1 : 1));
}
