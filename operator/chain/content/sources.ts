import { createReadStream, realpathSync, statSync } from "node:fs";
import { sep } from "node:path";
import type { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import { ContentError } from "./content-error.ts";
import { openGuarded, type Resolve } from "./guarded-request.ts";

/** From where content may come. */
export interface SourceSettings {
  /** Gateways for `ipfs://`, in order of preference: `https://ipfs.io`, `http://127.0.0.1:8080`. */
  ipfsGateways: readonly string[];
  /** Folders from which `file:` addresses may read; none unless given. */
  folders: readonly string[];
  /** Origins that may be on a private network, beside the gateways. */
  trustedOrigins?: readonly string[];
  resolve?: Resolve;
}

/** Bytes on their way, and how many are announced. */
export interface OpenSource {
  bytes: Readable;
  announced: number | undefined;
}

/** The addresses that stand for a URI: one for each gateway where it is of IPFS, else itself. */
export function addressesOf(uri: string, settings: SourceSettings): string[] {
  const match = /^ipfs:\/\/(?:ipfs\/)?([A-Za-z0-9]{32,128})((?:\/[^/?#]+)*)\/?$/.exec(uri);
  if (!match) return [uri];
  const [, cid, path] = match;
  const segments = path.split("/").map((segment) => encodeURIComponent(decodeSafely(segment)));
  if (segments.some((segment) => segment === ".." || segment === ".")) return [];
  return settings.ipfsGateways.map((gateway) => `${gateway.replace(/\/$/, "")}/ipfs/${cid}${segments.join("/")}`);
}

/** Joins a path inside a folder to the folder's URI. */
export function insideOf(uri: string, path: string): string {
  return `${uri.replace(/\/$/, "")}/${path.split("/").map(encodeURIComponent).join("/")}`;
}

/**
 * Opens one address.
 *
 * @throws {ContentError}
 */
export async function openSource(address: string, settings: SourceSettings, signal: AbortSignal): Promise<OpenSource> {
  if (address.startsWith("file:")) return openFile(address, settings.folders, signal);
  // Of a gateway only what it serves of IPFS: a URI must not reach the rest of a machine by naming it.
  const gateways = settings.ipfsGateways.map((gateway) => new URL(`${gateway.replace(/\/$/, "")}/ipfs/`).href);
  const origins = (settings.trustedOrigins ?? []).map((origin) => new URL("/", origin).href);
  const { resolve } = settings;
  const response = await openGuarded(address, { trusted: [...gateways, ...origins], signal, resolve });
  const length = response.headers["content-length"];
  return { bytes: response, announced: length === undefined ? undefined : Number(length) };
}

function openFile(address: string, folders: readonly string[], signal: AbortSignal): OpenSource {
  const path = allowedPath(address, folders);
  if (!path) {
    throw new ContentError(
      "refused",
      `${address.slice(0, 200)} is not in a folder from which files may be read (--data FOLDER, or content.folders of a node)`,
    );
  }
  const stat = statSync(path);
  // A pipe or a device would never end.
  if (!stat.isFile()) throw new ContentError("refused", `${address} is not a file`);
  return { bytes: createReadStream(path, { signal }), announced: stat.size };
}

/** The real path, with all links followed, when it lies in an allowed folder; absent and forbidden look the same. */
function allowedPath(address: string, folders: readonly string[]): string | undefined {
  try {
    const path = realpathSync(fileURLToPath(address));
    return folders.some((folder) => path.startsWith(realpathSync(folder) + sep)) ? path : undefined;
  } catch {
    return undefined;
  }
}

function decodeSafely(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}
