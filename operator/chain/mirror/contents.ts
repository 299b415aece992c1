import type { Address, Hex } from "viem";
import type { ContractKey } from "../contracts.ts";
import type { MirrorStore } from "./mirror-store.ts";

type Kind = "dataNet" | "data" | "adapter" | "prompt" | "tool" | "agent";

/** Where the content of something registered is, and by which hash it is known. */
export interface Content {
  id: number;
  kind: Kind;
  name: string;
  owner: Address;
  /** Version that the hash belongs to; 0 for what has one content for good. */
  version: number;
  contentHash: Hex;
  uri: string;
  /** SPDX expression. */
  licence: string;
}

const KINDS: Partial<Record<ContractKey, Kind>> = {
  adapters: "adapter",
  prompts: "prompt",
  tools: "tool",
  agents: "agent",
};

/** What is known of an id; of a version of it where it has versions (the newest unless given). */
export function contentIn(store: MirrorStore, id: number, version?: number): Content | undefined {
  const [registered] = store.facts("Registered", id);
  if (!registered) return undefined;
  const { name, contentHash, uri, licence } = registered.data as Record<"name" | "uri" | "licence", string> & {
    contentHash: Hex;
  };
  const isData = store.facts("ContributionSubmitted", id).length > 0;
  const kind = KINDS[registered.source] ?? (isData ? "data" : "dataNet");
  const entry = { id, kind, name, owner: ownerIn(store, id)!, licence };
  const versions = kind === "agent" ? [] : store.facts("VersionPublished", id);
  if (versions.length === 0) {
    // An agent's versions are compositions: its own content is what describes it.
    return version ? undefined : { ...entry, version: 0, contentHash, uri };
  }
  const published = version === undefined ? versions.at(-1) : versions[version - 1];
  if (!published) return undefined;
  // The first version is published under the address of the registration, and its event repeats none.
  const told = versions.slice(0, published.b).findLast(({ data }) => data.uri !== "");
  return {
    ...entry,
    version: published.b,
    contentHash: published.data.contentHash as Hex,
    uri: (told?.data.uri as string | undefined) ?? uri,
  };
}

/** Who holds the token of an id. */
export function ownerIn(store: MirrorStore, id: number): Address | undefined {
  return store.facts("Transfer", id).at(-1)?.data.to as Address | undefined;
}
