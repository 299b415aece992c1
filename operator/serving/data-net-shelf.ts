import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { buildVerbatimCorpus } from "../attribution/verbatim/build-corpus.ts";
import { VerbatimCorpus } from "../attribution/verbatim/verbatim-corpus.ts";
import { ContentError } from "../chain/content/content-error.ts";
import type { ContentFetcher } from "../chain/content.ts";
import type { RegistryMirror } from "../chain/mirror.ts";
import { toHex } from "../protocol/bytes.ts";
import type { Pinned } from "../protocol/composition.ts";
import { keccak } from "../protocol/keccak.ts";
import { type DataNetIndex, openDataNetIndex, UnreadableIndex } from "../retrieval/data-net-index.ts";
import { ingestDataNet } from "../retrieval/ingest.ts";
import { Remembered } from "./remembered.ts";
import { ServingError } from "./served-job.ts";

/** Versions of DataNets that stay open while nobody uses them. */
const MOST_IDLE = 16;

interface DataNetShelfOptions {
  readonly mirror: RegistryMirror;
  readonly fetcher: ContentFetcher;
  /** Folder for the indexes. */
  readonly directory: string;
}

/** An indexed DataNet version, open until it is released. */
export interface OpenDataNet {
  readonly index: DataNetIndex;
  readonly corpus: VerbatimCorpus;
  release(): void;
}

interface Entry {
  readonly index: DataNetIndex;
  readonly corpus: VerbatimCorpus;
  users: number;
}

/**
 * Contributions of a DataNet version that stand at a time: those withdrawn since earn nothing any more, and what is not
 * paid for is not used.
 *
 * @param at Seconds since 1970; now unless given.
 */
export function standingContributions(mirror: RegistryMirror, net: Pinned, at = Number.POSITIVE_INFINITY): number[] {
  return mirror.contributionsOf(net.id, net.version).filter((id) => {
    const { withdrawnAt } = mirror.contribution(id)!;
    return withdrawnAt === 0 || withdrawnAt > at;
  });
}

/** Indexes and suffix arrays of DataNet versions: built when first asked for, kept on disk, shared by all agents. */
export class DataNetShelf {
  readonly #options: DataNetShelfOptions;
  readonly #building = new Remembered<void>();
  /** Open ones, the least recently used first. */
  readonly #open = new Map<string, Entry>();

  constructor(options: DataNetShelfOptions) {
    this.#options = options;
  }

  /**
   * @param contributions What it holds, ascending; what stands now unless given.
   * @returns Undefined when nothing is in it.
   * @throws {ServingError} `contentUnavailable`, `agentUnavailable`
   */
  async take(net: Pinned, contributions?: readonly number[]): Promise<OpenDataNet | undefined> {
    const { mirror } = this.#options;
    if ((mirror.dataNetHead(net.id) ?? 0) < net.version) {
      throw new ServingError("agentUnavailable", `DataNet ${net.id} has no version ${net.version}.`);
    }
    const ids = contributions ?? standingContributions(mirror, net);
    if (ids.length === 0) return undefined;
    // Another set of contributions is another index: nothing withdrawn is found in the old one.
    const set = toHex(keccak(new TextEncoder().encode(ids.join()))).slice(2, 18);
    const key = `${net.id}-${net.version}-${set}`;
    const directory = join(this.#options.directory, set);
    const entry = await this.#use(key, net, ids, directory);
    this.#closeIdle(MOST_IDLE);
    return this.#held(entry);
  }

  /** @param entry With its user counted. */
  #held(entry: Entry): OpenDataNet {
    let released = false;
    const { index, corpus } = entry;
    return {
      index,
      corpus,
      release: () => {
        if (released) return;
        released = true;
        entry.users -= 1;
        this.#closeIdle(MOST_IDLE);
      },
    };
  }

  /** Those that are open already, each DataNet in its newest version here; nothing is fetched or built. */
  takeOpen(): OpenDataNet[] {
    const newest = new Map<number, Entry>();
    for (const entry of this.#open.values()) {
      const known = newest.get(entry.index.dataNet);
      if (!known || entry.index.version >= known.index.version) newest.set(entry.index.dataNet, entry);
    }
    return Array.from(newest.values(), (entry) => {
      entry.users += 1;
      return this.#held(entry);
    });
  }

  /** Closes what nobody uses. */
  close(): void {
    this.#closeIdle(0);
  }

  #closeIdle(most: number): void {
    let idle = [...this.#open.values()].filter(({ users }) => users === 0).length;
    for (const [key, entry] of this.#open) {
      if (idle <= most) return;
      if (entry.users > 0) continue;
      this.#open.delete(key);
      entry.corpus.close();
      entry.index.close();
      idle -= 1;
    }
  }

  /** Counts a user in the same turn in which it finds or opens the files, so that nobody closes them in between. */
  async #use(key: string, net: Pinned, ids: readonly number[], directory: string): Promise<Entry> {
    for (let tries = 0; ; tries++) {
      try {
        const entry = this.#open.get(key) ?? openEntry(directory, net);
        this.#open.delete(key);
        this.#open.set(key, entry);
        entry.users += 1;
        return entry;
      } catch (error) {
        if (!(error instanceof UnreadableIndex) || tries === 2) throw error;
      }
      await this.#building.get(key, () => this.#build(net, ids, directory));
      this.#building.forget(key);
    }
  }

  async #build(net: Pinned, ids: readonly number[], directory: string): Promise<void> {
    const contributions = [];
    for (const id of ids) contributions.push({ contribution: id, documents: await this.#documents(id) });
    await ingestDataNet({ dataNet: net.id, version: net.version, contributions, directory });
    const index = openDataNetIndex(directory, net.id, net.version);
    try {
      await buildVerbatimCorpus(index);
    } finally {
      index.close();
    }
  }

  async #documents(id: number) {
    const { mirror, fetcher } = this.#options;
    const { contentHash, uri } = mirror.contentOf(id)!;
    try {
      const { path, files } = await fetcher.folder(contentHash, [uri]);
      return files.map((file) => ({ path: file.path, bytes: () => readFile(join(path, file.path)) }));
    } catch (error) {
      throw contentFailure(error, `contribution ${id}`);
    }
  }
}

/** What became of fetching something registered, as a reason to give a job up. Faults of this machine stay what they are. */
export function contentFailure(error: unknown, what: string): unknown {
  if (!(error instanceof ContentError)) return error;
  return new ServingError("contentUnavailable", `The content of ${what} cannot be had: ${error.message}`, {
    cause: error,
  });
}

function openEntry(directory: string, net: Pinned): Entry {
  const index = openDataNetIndex(directory, net.id, net.version);
  try {
    return { index, corpus: new VerbatimCorpus(index), users: 0 };
  } catch (error) {
    index.close();
    throw error;
  }
}
