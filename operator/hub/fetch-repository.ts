import { existsSync, mkdirSync, statfsSync, statSync } from "node:fs";
import { join } from "node:path";
import { downloadFile } from "./download-file.ts";
import { takeDownloadLock } from "./download-lock.ts";
import { downloadProgress, megabytes, type Say } from "./download-progress.ts";
import { RepositoryCache } from "./hub-cache.ts";
import { HubError } from "./hub-error.ts";
import { type HubName, isCommit } from "./hub-name.ts";
import { type HubRequests, hubRequests } from "./hub-requests.ts";
import { type HubSettings, hubSettings } from "./hub-settings.ts";
import { commitOf, type HubFile, listFilesOf } from "./listing.ts";
import { describingFiles, type Kind, weightFiles } from "./needed-files.ts";

/** Left free on the disk: what else is written there needs some too. */
const SPARE_BYTES = 256 << 20;

export interface FetchOptions {
  /** Default: those of the environment. */
  readonly settings?: HubSettings;
  /** Says what is done that may take time. */
  readonly say?: Say;
  readonly signal?: AbortSignal;
}

export interface FetchedRepository {
  /** Holds what the engine reads, and nothing else. */
  readonly folder: string;
  /** Which state of the repository it is: `org/name@commit` means the same for ever. */
  readonly commit: string;
}

/**
 * A model or adapter by its name on a hub: what is needed of it, in a folder that is kept. A commit that was fetched is
 * never asked for again. Where the hub cannot be reached, a branch or tag is what it was the last time.
 *
 * A name is only a way to a folder. Whether it is the model that was registered is decided by its hash.
 *
 * @throws {HubError}
 */
export async function fetchRepository(
  name: HubName,
  kind: Kind,
  { settings = hubSettings(), say = () => {}, signal }: FetchOptions = {},
): Promise<FetchedRepository> {
  const cache = new RepositoryCache(settings, name, kind);
  const requests = hubRequests(name, settings, signal);
  const fetching = { name, kind, cache, settings, requests, say, signal };
  const commit = await findCommit(fetching);
  const folder = cache.complete(commit) ?? (await fetchAlone(commit, fetching));
  if (!isCommit(name.revision)) cache.rememberCommit(revisionOf(name), commit);
  return { folder, commit };
}

interface Fetching {
  readonly name: HubName;
  readonly kind: Kind;
  readonly cache: RepositoryCache;
  readonly settings: HubSettings;
  readonly requests: HubRequests;
  readonly say: Say;
  readonly signal: AbortSignal | undefined;
}

function revisionOf({ revision }: HubName): string {
  return revision ?? "main";
}

async function findCommit({ name, cache, settings, requests, say }: Fetching): Promise<string> {
  if (isCommit(name.revision)) return name.revision;
  const last = cache.lastCommitOf(revisionOf(name));
  if (settings.offline) {
    if (last !== undefined) return last;
    throw new HubError("offline", `${name.id} was never fetched, and HF_HUB_OFFLINE is set.`);
  }
  try {
    return await commitOf(name, settings, requests);
  } catch (error) {
    const isAway = error instanceof HubError && error.code === "unavailable";
    if (!isAway || last === undefined || cache.complete(last) === undefined) throw error;
    say(`${error.message} Taking ${name.id} as it was the last time: ${last}.`, true);
    return last;
  }
}

/** Fetches a commit while every other process that wants something of the repository waits. */
async function fetchAlone(commit: string, fetching: Fetching): Promise<string> {
  const { name, cache, settings, say, signal } = fetching;
  if (settings.offline) throw new HubError("offline", `${name.id}@${commit} is not here, and HF_HUB_OFFLINE is set.`);
  mkdirSync(cache.folder, { recursive: true });
  const onWait = () => say(`Another process fetches ${name.id}: waiting for it.`, true);
  const release = await takeDownloadLock(cache.folder, onWait, signal);
  try {
    return cache.complete(commit) ?? (await fetchCommit(commit, fetching));
  } finally {
    release();
  }
}

async function fetchCommit(commit: string, fetching: Fetching): Promise<string> {
  const { name, kind, cache, settings, requests, say } = fetching;
  const listed = await listFilesOf(name, commit, settings, requests);
  const descriptions = describingFiles(kind, name.id, listed);
  const folder = cache.partial(commit);
  await fetchFiles(commit, descriptions, folder, fetching, () => {});
  let weights: HubFile[];
  try {
    weights = weightFiles(kind, name.id, listed, folder);
  } catch (error) {
    cache.discard(commit);
    throw error;
  }
  const total = bytesOf([...descriptions, ...weights]);
  checkLimit(name, total, settings);
  const missing = weights.filter((file) => !isHere(file, folder) && !cache.takeOver(file, join(folder, file.name)));
  const left = missing.reduce((sum, { name, size }) => sum + Math.max(0, size - partBytes(join(folder, name))), 0);
  checkRoom(name, left, folder, settings);
  const started = performance.now();
  say(`Fetching ${name.id}@${commit} from ${settings.endpoint}: ${megabytes(left)} of ${megabytes(total)}`, true);
  await fetchFiles(commit, missing, folder, fetching, downloadProgress({ total, here: total - left, say }));
  const done = cache.finish(commit, [...descriptions, ...weights]);
  say(`Fetched in ${((performance.now() - started) / 1_000).toFixed(1)} s, into ${done}`, true);
  return done;
}

async function fetchFiles(
  commit: string,
  files: readonly HubFile[],
  folder: string,
  { name, settings, requests, signal }: Fetching,
  onBytes: (count: number) => void,
): Promise<void> {
  for (const file of files) {
    if (isHere(file, folder)) continue;
    const url = `${settings.endpoint}/${name.id}/resolve/${commit}/${encodeURIComponent(file.name)}`;
    await downloadFile(url, file, join(folder, file.name), { settings, requests, onBytes, signal });
  }
}

/** @throws {HubError} `too_large`, before a byte of the weights is fetched. */
function checkLimit({ id }: HubName, total: number, { maxBytes }: HubSettings): void {
  if (total <= maxBytes) return;
  const limit = `the ${megabytes(maxBytes)} that may be fetched: raise OPENLEDGER_HUB_MAX_GB`;
  throw new HubError("too_large", `${id} has ${megabytes(total)}, more than ${limit}.`);
}

/** @throws {HubError} `too_large`, before a byte of the weights is fetched. */
function checkRoom({ id }: HubName, left: number, folder: string, { cache }: HubSettings): void {
  const { bavail, bsize } = statfsSync(folder);
  const free = bavail * bsize;
  if (free >= left + SPARE_BYTES) return;
  const disk = `the disk of ${cache}, which has ${megabytes(free)} free`;
  const help = "make room, or set XDG_CACHE_HOME to a folder on another";
  throw new HubError("too_large", `${id} needs ${megabytes(left + SPARE_BYTES)} on ${disk}: ${help}.`);
}

function bytesOf(files: readonly HubFile[]): number {
  return files.reduce((sum, { size }) => sum + size, 0);
}

/** A file has its name only when it is whole. */
function isHere({ name }: HubFile, folder: string): boolean {
  return existsSync(join(folder, name));
}

function partBytes(path: string): number {
  return statSync(`${path}.part`, { throwIfNoEntry: false })?.size ?? 0;
}
