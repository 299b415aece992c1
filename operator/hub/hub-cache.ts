import {
  copyFileSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { type HubName, isCommit } from "./hub-name.ts";
import type { HubSettings } from "./hub-settings.ts";
import type { HubFile } from "./listing.ts";
import type { Kind } from "./needed-files.ts";

const LIST = "files.json";

/**
 * What was fetched of one repository:
 *
 *     HOST/ORG--NAME/revisions/REVISION      the commit that it was when the hub was asked last
 *     HOST/ORG--NAME/KIND-COMMIT/NAME/       the files, complete; it is never written to again
 *     HOST/ORG--NAME/KIND-COMMIT/files.json  their sizes and hashes
 *     HOST/ORG--NAME/KIND-COMMIT.partial/    the same while it is fetched
 *
 * Every part of a path is a name that was checked, or a hash.
 */
export class RepositoryCache {
  readonly folder: string;
  private readonly name: string;
  private readonly kind: Kind;

  constructor(settings: HubSettings, name: HubName, kind: Kind) {
    // A mirror may say other things of the same name.
    const host = settings.endpoint.replace(/^https?:\/\//, "").replaceAll(/[^\w.-]/g, "_");
    this.folder = join(settings.cache, host, `${name.owner}--${name.name}`);
    this.name = name.name;
    this.kind = kind;
  }

  /** The complete files of a commit; its last part is the repository's name, which the engine calls a model by. */
  complete(commit: string): string | undefined {
    const folder = join(this.folder, `${this.kind}-${commit}`, this.name);
    return existsSync(folder) ? folder : undefined;
  }

  /** The commit that a branch or tag was when the hub was asked last. */
  lastCommitOf(revision: string): string | undefined {
    try {
      const commit = readFileSync(this.revisionFile(revision), "utf8").trim();
      return isCommit(commit) ? commit : undefined;
    } catch {
      return undefined;
    }
  }

  rememberCommit(revision: string, commit: string): void {
    if (this.lastCommitOf(revision) === commit) return;
    const file = this.revisionFile(revision);
    mkdirSync(join(this.folder, "revisions"), { recursive: true });
    const draft = `${file}.${process.pid}.part`;
    writeFileSync(draft, `${commit}\n`);
    renameSync(draft, file);
  }

  /** Where a commit's files are put until all are there: what an earlier process left, or empty. */
  partial(commit: string): string {
    const folder = join(this.partialRoot(commit), this.name);
    mkdirSync(folder, { recursive: true });
    return folder;
  }

  /** Makes what was fetched complete, in one step. @returns The folder of its files. */
  finish(commit: string, files: readonly HubFile[]): string {
    writeFileSync(join(this.partialRoot(commit), LIST), `${JSON.stringify({ commit, files }, null, 2)}\n`);
    const folder = join(this.folder, `${this.kind}-${commit}`);
    renameSync(this.partialRoot(commit), folder);
    return join(folder, this.name);
  }

  /** Forgets what was fetched of a commit that turned out to be of no use. */
  discard(commit: string): void {
    rmSync(this.partialRoot(commit), { recursive: true, force: true });
  }

  /**
   * Takes a file over from another commit that has the same: weights stay when a page about them changes.
   *
   * @param path Where it goes; there is nothing yet.
   */
  takeOver(file: HubFile, path: string): boolean {
    const others = readdirSync(this.folder).filter((entry) => /^(model|adapter)-[0-9a-f]{40}$/.test(entry));
    for (const entry of others) {
      try {
        const list = JSON.parse(readFileSync(join(this.folder, entry, LIST), "utf8")) as { files: HubFile[] };
        if (!list.files.some(({ name, hash }) => name === file.name && hash.hex === file.hash.hex)) continue;
        const source = join(this.folder, entry, this.name, file.name);
        try {
          linkSync(source, path);
        } catch {
          copyFileSync(source, `${path}.part`);
          renameSync(`${path}.part`, path);
        }
        return true;
      } catch {
        // Somebody has cleared it up by hand: it is fetched.
      }
    }
    return false;
  }

  private partialRoot(commit: string): string {
    return join(this.folder, `${this.kind}-${commit}.partial`);
  }

  private revisionFile(revision: string): string {
    return join(this.folder, "revisions", encodeURIComponent(revision));
  }
}
