import type { Hex } from "viem";
import type { LineageEntry } from "../../protocol/registry-view.ts";
import type { MirrorStore } from "./mirror-store.ts";

/** A version of an adapter. */
export interface AdapterEntry {
  baseModel: Hex;
  weightsHash: Hex;
  rank: number;
  targetModules: string;
  lineage: readonly LineageEntry[];
}

export function adapterVersionIn(store: MirrorStore, id: number, version: number): AdapterEntry | undefined {
  const [details] = store.facts("AdapterVersionPublished", id, version);
  const [published] = store.facts("VersionPublished", id, version);
  if (!details || !published) return undefined;
  const { baseModel, rank, targetModules, lineage } = details.data as unknown as AdapterEntry;
  return { baseModel, weightsHash: published.data.contentHash as Hex, rank, targetModules, lineage };
}
