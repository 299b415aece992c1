import { existsSync } from "node:fs";
import { resolve } from "node:path";

/** A repository of a Hugging Face hub: `org/name`, or `org/name@revision`. */
export interface HubName {
  /** `org/name` */
  readonly id: string;
  readonly owner: string;
  readonly name: string;
  /** Branch, tag or commit, as it was given. */
  readonly revision: string | undefined;
}

/** The hub's rule for both halves of a name; `--` and `..` are forbidden beside it. */
const PART = /^[A-Za-z0-9_](?:[\w.-]{0,94}[A-Za-z0-9_])?$/;
const REVISION = /^[A-Za-z0-9_][\w./-]{0,199}$/;
const FORBIDDEN = /--|\.\.|\.git$/;

/** What looks like a path is never asked of a hub: `./x`, `../x`, `/x`, `~/x`, `C:\x`, `\x`. */
const PATH = /^(\.{1,2}([/\\]|$)|[/\\~]|[A-Za-z]:)/;

/** @returns Undefined where the text is no name that a hub can have. */
export function parseHubName(text: string): HubName | undefined {
  const at = text.indexOf("@");
  const id = at < 0 ? text : text.slice(0, at);
  const revision = at < 0 ? undefined : text.slice(at + 1);
  const parts = id.split("/");
  if (parts.length !== 2 || !parts.every((part) => PART.test(part) && !FORBIDDEN.test(part))) return undefined;
  if (revision !== undefined && (!REVISION.test(revision) || revision.includes(".."))) return undefined;
  return { id, owner: parts[0], name: parts[1], revision };
}

/** Whether a revision is a commit, which means the same for ever. */
export function isCommit(revision: string | undefined): revision is string {
  return revision !== undefined && /^[0-9a-f]{40}$/.test(revision);
}

/** A folder of this machine, or a repository of a hub. */
export type Place = { readonly folder: string } | { readonly hub: HubName };

/**
 * Whether a text means a folder of this machine or a repository of a hub. What exists is a path, and so is what looks
 * like one.
 *
 * @param base Folder from which relative paths are taken.
 */
export function placeOf(text: string, base = process.cwd()): Place {
  const folder = resolve(base, text);
  const hub = existsSync(folder) || PATH.test(text) ? undefined : parseHubName(text);
  return hub === undefined ? { folder } : { hub };
}
