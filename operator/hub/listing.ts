import { HubError } from "./hub-error.ts";
import { type HubName, isCommit } from "./hub-name.ts";
import type { HubRequests } from "./hub-requests.ts";
import type { HubSettings } from "./hub-settings.ts";

/** A file at the top of a repository, as the hub describes it. */
export interface HubFile {
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  /** What its bytes hash to: SHA-256 of a large file, the SHA-1 of a git blob of a small one. */
  readonly hash: { readonly kind: "sha256" | "git-blob"; readonly hex: string };
}

const MAX_ENTRIES = 20_000;

/** The commit that a revision is at the moment. @throws {HubError} */
export function commitOf(name: HubName, settings: HubSettings, requests: HubRequests): Promise<string> {
  return asked(settings, async () => {
    const { modelInfo } = await import("@huggingface/hub");
    const { sha } = await modelInfo({
      name: name.id,
      revision: name.revision ?? "main",
      additionalFields: ["sha"],
      hubUrl: settings.endpoint,
      fetch: requests.api,
    });
    if (!isCommit(sha)) throw new HubError("unavailable", `${settings.endpoint} names no commit of ${name.id}.`);
    return sha;
  });
}

/** The files at the top of a repository, by name; folders in it hold nothing that an engine reads. @throws {HubError} */
export function listFilesOf(
  name: HubName,
  commit: string,
  settings: HubSettings,
  requests: HubRequests,
): Promise<ReadonlyMap<string, HubFile>> {
  return asked(settings, async () => {
    const { listFiles } = await import("@huggingface/hub");
    const files = new Map<string, HubFile>();
    let entries = 0;
    const where = { hubUrl: settings.endpoint, fetch: requests.api };
    for await (const entry of listFiles({ repo: { type: "model", name: name.id }, revision: commit, ...where })) {
      if (++entries > MAX_ENTRIES) throw new HubError("unusable", `${name.id} has more than ${MAX_ENTRIES} files.`);
      const size = entry.lfs?.size ?? entry.size;
      const kind = entry.lfs ? "sha256" : "git-blob";
      const hex = entry.lfs?.oid ?? entry.oid ?? "";
      const isHash = kind === "sha256" ? /^[0-9a-f]{64}$/.test(hex) : /^[0-9a-f]{40}$/.test(hex);
      // What is of no use here may be described in any way.
      if (entry.type !== "file" || !isHash || !Number.isSafeInteger(size) || size < 0) continue;
      files.set(entry.path, { name: entry.path, size, hash: { kind, hex } });
    }
    return files;
  });
}

/** What the library throws of its own comes of an answer that no hub gives. */
async function asked<T>({ endpoint }: HubSettings, ask: () => Promise<T>): Promise<T> {
  try {
    return await ask();
  } catch (error) {
    if (error instanceof HubError) throw error;
    throw new HubError("unavailable", `${endpoint} does not answer as a hub does: ${(error as Error).message}.`, error);
  }
}
