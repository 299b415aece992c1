import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { dirname, join, relative, resolve, sep } from "node:path";
import { pathToFileURL } from "node:url";
import { type FolderFile, folderRoot, isSafePath, LIST_NAME, writeList } from "../../chain/content/content-folder.ts";
import { type Hex, toHex } from "../../protocol/bytes.ts";
import { keccak } from "../../protocol/keccak.ts";

/** Where what is registered can be had. */
export interface PublishOptions {
  uri?: string;
  publish?: string;
  baseUri?: string;
}

/** What all that is registered comes with: where it can be had, its licence, and who is paid (none named: its owner). */
export interface ContributionTerms extends PublishOptions {
  licence: string;
  payee: readonly { account: Hex; sharePpm: number }[];
}

/** Keccak-256 of a file. */
export function hashFile(path: string): Hex {
  return toHex(keccak(readFileSync(path)));
}

/**
 * The documents of a folder, hidden files left out, as they are registered.
 *
 * @throws Error when there are none, or a name cannot be kept on every system.
 */
export function listFolder(folder: string): { files: FolderFile[]; root: Hex } {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .map((path) => ({ full: path, path: relative(folder, path).split(sep).join("/") }))
    .filter(({ path }) => path !== LIST_NAME && !path.split("/").some((part) => part.startsWith(".")))
    .map(({ full, path }): FolderFile => {
      if (!isSafePath(path)) throw new Error(`${full}: not every system can keep a file of this name; rename it.`);
      return { path, hash: hashFile(full), bytes: statSync(full).size };
    });
  if (files.length === 0) throw new Error(`${folder} holds no documents.`);
  return { files, root: folderRoot(files) };
}

/**
 * Says where something can be had, and puts it there where that was asked for: under its hash, in one step.
 *
 * @param path A file or folder.
 * @param files Of a folder that is fetched file by file: its list goes along.
 * @throws Error when neither an address nor a folder was given.
 */
export function publishContent(
  hash: Hex,
  path: string,
  options: PublishOptions,
  files?: readonly FolderFile[],
): string {
  const { uri, publish, baseUri } = options;
  if (uri !== undefined) return uri;
  if (publish === undefined) throw new Error("Say where it can be had: --uri, or --publish to copy it into a folder.");
  const name = hash.slice(2);
  const place = join(resolve(publish), name);
  if (!existsSync(place)) {
    const part = `${place}.${process.pid}.part`;
    rmSync(part, { recursive: true, force: true });
    try {
      if (!files) {
        mkdirSync(dirname(part), { recursive: true });
        cpSync(path, part, { recursive: true });
      } else {
        for (const file of files) {
          mkdirSync(dirname(join(part, file.path)), { recursive: true });
          cpSync(join(path, file.path), join(part, file.path));
        }
        writeFileSync(join(part, LIST_NAME), writeList(files));
      }
      renameSync(part, place);
    } finally {
      rmSync(part, { recursive: true, force: true });
    }
  }
  return baseUri === undefined ? pathToFileURL(place).href : `${baseUri.replace(/\/$/, "")}/${name}`;
}
