import type { Address } from "viem";
import { fromHex } from "../../protocol/bytes.ts";
import { decodeComposition } from "../../protocol/composition.ts";
import type { AgentVersion } from "../../protocol/registry-view.ts";
import { ownerIn } from "./contents.ts";
import type { MirrorStore } from "./mirror-store.ts";

/** An agent by its name. Versions run from 1 to `head`. */
export interface AgentEntry {
  id: number;
  name: string;
  owner: Address;
  head: number;
}

/** All agents, by id; those without a version have head 0. */
export function agentsIn(store: MirrorStore): readonly AgentEntry[] {
  return store
    .facts("Registered")
    .filter(({ source }) => source === "agents")
    .map(({ a: id, data }) => ({
      id,
      name: data.name as string,
      owner: ownerIn(store, id)!,
      head: store.facts("CompositionPublished", id).length,
    }));
}

/** Agents by name. Names are free for all on the chain; here a name belongs to whoever registered it first. */
export function agentNames(agents: readonly AgentEntry[]): ReadonlyMap<string, AgentEntry> {
  return new Map(agents.toReversed().map((agent) => [agent.name, agent]));
}

export function agentVersionIn(store: MirrorStore, agent: number, version: number): AgentVersion | undefined {
  const [published] = store.facts("CompositionPublished", agent, version);
  if (!published) return undefined;
  const bytes = fromHex(published.data.composition as string);
  return { publishedAt: published.time, bytes, composition: decodeComposition(bytes) };
}
