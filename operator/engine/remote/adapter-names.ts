import { randomBytes } from "node:crypto";
import type { AdapterInfo, AdapterSource, AdapterUse } from "../engine.ts";
import { EngineError } from "../engine-error.ts";
import type { RemoteProtocol, ServedAdapter, ServedUse } from "./remote-protocol.ts";

/** Reads an adapter folder's content hash, or undefined where this machine cannot see the folder. */
export type AdapterHash = (path: string) => Promise<string | undefined>;

interface Known {
  readonly served: ServedAdapter;
  readonly hash?: string;
  readonly pinned: boolean;
  inUse: number;
  idle?: () => void;
}

/** An adapter of a request, counted as in use until `release`. */
export interface HeldUses {
  readonly uses: readonly (ServedUse & { hash?: string })[];
  /** Loads again those that were loaded from here. False when there are none: then the server's word stands. */
  readonly reload: (signal: AbortSignal) => Promise<boolean>;
  readonly release: () => void;
}

/**
 * Which adapter has which name at the server. The name carries the content's hash, or a random part where there is
 * none: servers key their caches by name, and an adapter that changed must never meet its predecessor's.
 */
export class AdapterNames {
  private readonly protocol: RemoteProtocol;
  private readonly hashOf: AdapterHash;
  private readonly known = new Map<string, Known>();
  private readonly loading = new Set<string>();

  constructor(protocol: RemoteProtocol, hashOf: AdapterHash) {
    this.protocol = protocol;
    this.hashOf = hashOf;
  }

  async load(source: AdapterSource, signal: AbortSignal): Promise<AdapterInfo> {
    const { id, path, expectedHash, pinned = false } = source;
    if (id === "" || path === "") throw new EngineError("invalid_request", "An adapter needs an id and a path");
    if (this.known.has(id) || this.loading.has(id)) {
      throw new EngineError("invalid_request", `Adapter "${id}" is loaded already: unload it first`);
    }
    this.loading.add(id);
    try {
      const hash = await this.hashOf(path).catch((error) => Promise.reject(loadFailure(id, error)));
      if (hash !== undefined && expectedHash !== undefined && hash !== expectedHash) {
        throw new EngineError("adapter_failed", `Adapter "${id}" is not the one expected`, { hash, expectedHash });
      }
      const mark = (hash ?? expectedHash)?.slice(0, 16) ?? randomBytes(8).toString("hex");
      const served = await this.protocol
        .load({ id, name: `${id}@${mark}`, path, pinned }, signal)
        .catch((error) => Promise.reject(loadFailure(id, error)));
      const entry: Known = { served, ...(hash !== undefined && { hash }), pinned, inUse: 0 };
      this.known.set(id, entry);
      return describe(id, entry);
    } finally {
      this.loading.delete(id);
    }
  }

  /** Resolves when the last request that uses it has ended and the server has forgotten it. */
  async unload(id: string, signal: AbortSignal): Promise<void> {
    const entry = this.require(id);
    this.known.delete(id);
    if (entry.inUse > 0) {
      await new Promise<void>((resolve) => {
        entry.idle = resolve;
      });
    }
    await this.protocol.unload(entry.served, signal);
  }

  /** Those loaded from here first, then what the server has besides. */
  async list(signal: AbortSignal): Promise<AdapterInfo[]> {
    const own = [...this.known].map(([id, entry]) => describe(id, entry));
    const names = new Set([...this.known.values()].map(({ served }) => served.name));
    const others = (await this.protocol.served(signal)).filter(
      ({ id, name }) => !names.has(name) && !this.known.has(id),
    );
    return [...own, ...others.map((served) => describe(served.id, { served, pinned: false, inUse: 0 }))];
  }

  /** @throws EngineError `unknown_adapter` */
  require(id: string): Known {
    const entry = this.known.get(id);
    if (entry === undefined) throw new EngineError("unknown_adapter", `No adapter "${id}" is loaded`, { adapter: id });
    return entry;
  }

  /** Names of the adapters in use, for the metrics. */
  running(): string[] {
    return [...this.known].filter(([, { inUse }]) => inUse > 0).map(([id]) => id);
  }

  /**
   * Finds every adapter of a request: among those loaded from here, else by asking the server what it has.
   *
   * @throws EngineError `unknown_adapter`: the base model never answers in an adapter's place
   */
  async hold(wanted: readonly AdapterUse[], signal: AbortSignal): Promise<HeldUses> {
    const foreign = wanted.some(({ id }) => !this.known.has(id)) ? await this.protocol.served(signal) : [];
    const held: Known[] = [];
    const uses = wanted.map(({ id, weight = 1 }) => {
      const entry = this.known.get(id);
      if (entry !== undefined) {
        held.push(entry);
        return { ...entry.served, weight, ...(entry.hash !== undefined && { hash: entry.hash }) };
      }
      const matches = foreign.filter((served) => served.id === id);
      if (matches.length === 1) return { ...matches[0], weight };
      throw new EngineError(
        "unknown_adapter",
        matches.length === 0 ? `The server has no adapter "${id}"` : `The server has several adapters "${id}"`,
        { adapter: id },
      );
    });
    for (const entry of held) entry.inUse++;
    const reload = async (again: AbortSignal) => {
      for (const { served, pinned } of held) await this.protocol.load({ ...served, pinned }, again);
      return held.length > 0;
    };
    return { uses, reload, release: () => this.release(held) };
  }

  private release(held: readonly Known[]): void {
    for (const entry of held) if (--entry.inUse === 0) entry.idle?.();
  }
}

function describe(id: string, { served, hash, pinned, inUse }: Known): AdapterInfo {
  const path = served.path;
  return {
    id,
    ...(path !== undefined && { path }),
    ...(hash !== undefined && { hash }),
    tier: "remote",
    pinned,
    inUse,
  };
}

/** A refusal to load says that the adapter is at fault, whatever status the server chose for it. */
function loadFailure(id: string, error: unknown): EngineError {
  const known = EngineError.from(error);
  if (["unavailable", "timeout", "cancelled", "closed", "overloaded", "unsupported"].includes(known.code)) return known;
  if (known.code === "unknown_adapter" && known.details.adapter !== undefined) return known;
  return new EngineError("adapter_failed", `Adapter "${id}" cannot be loaded: ${known.message}`, known.details, known);
}
