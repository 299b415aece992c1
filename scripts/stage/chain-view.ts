import { fromHex } from "../../operator/protocol/bytes.ts";
import { decodeComposition } from "../../operator/protocol/composition.ts";
import type {
  AgentVersion,
  ChannelInfo,
  ContributionInfo,
  LineageEntry,
  RegistryView,
} from "../../operator/protocol/registry-view.ts";
import type { Stage } from "./stage.ts";

/** Reads what the protocol's rules ask of the registries, once, from the chain itself. */
export async function readChainView(stage: Stage): Promise<RegistryView> {
  const { contracts, deployment } = stage;
  const from = { fromBlock: BigInt(deployment.fromBlock) };

  const channels = new Map<number, ChannelInfo>();
  for (let id = 1; id <= (await contracts.channels.read.channelCount()); id++) {
    const [operator, sessionKey, deposit] = await contracts.channels.read.channelOf([id]);
    channels.set(id, { operator, sessionKey, deposit });
  }

  const agents = new Map<string, AgentVersion>();
  for (const { args } of await contracts.agents.getEvents.CompositionPublished({}, from)) {
    const { agent, version, composition } = args as { agent: number; version: number; composition: `0x${string}` };
    const [, publishedAt] = await contracts.agents.read.versionOf([agent, version]);
    const bytes = fromHex(composition);
    agents.set(`${agent}/${version}`, { publishedAt, bytes, composition: decodeComposition(bytes) });
  }

  const contributions = new Map<number, ContributionInfo>();
  for (const { args } of await contracts.dataNets.getEvents.ContributionSubmitted({}, from)) {
    const id = args.id as number;
    const [dataNet, fromVersion, untilVersion, acceptedAt, withdrawnAt] = await contracts.dataNets.read.contributionOf([
      id,
    ]);
    contributions.set(id, { dataNet, fromVersion, untilVersion, acceptedAt, withdrawnAt });
  }

  const lineages = new Map<string, readonly LineageEntry[]>();
  for (const { args } of await contracts.adapters.getEvents.AdapterVersionPublished({}, from)) {
    lineages.set(`${args.id}/${args.version}`, args.lineage ?? []);
  }

  const share = await contracts.parameters.read.protocolShareAt([BigInt(await stage.now())]);
  return {
    channel: (id) => channels.get(id),
    agentVersion: (agent, version) => agents.get(`${agent}/${version}`),
    contribution: (id) => contributions.get(id),
    lineage: (adapter, version, index) => lineages.get(`${adapter}/${version}`)?.[index],
    protocolShareAt: () => share,
  };
}
