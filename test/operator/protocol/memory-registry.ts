import type { Hex } from "../../../operator/protocol/bytes.ts";
import { decodeComposition } from "../../../operator/protocol/composition.ts";
import type {
  AgentVersion,
  ChannelInfo,
  ContributionInfo,
  LineageEntry,
  RegistryView,
} from "../../../operator/protocol/registry-view.ts";

/** Something that happens to the registries, at its time (seconds since 1970); on a chain, one transaction each. */
export type WorldAction = { time: number } & (
  | { kind: "registerOperator"; operator: number }
  | { kind: "openChannel"; channel: number; operator: number; sessionKey: Hex; deposit: bigint }
  | { kind: "createDataNet"; id: number }
  | { kind: "submit"; id: number; dataNet: number }
  | { kind: "accept"; dataNet: number; ids: number[] }
  | { kind: "publishDataNet"; dataNet: number; version: number }
  | { kind: "withdraw"; id: number }
  | { kind: "registerAdapter"; id: number; baseModel: Uint8Array; lineage: LineageEntry[] }
  | { kind: "registerPrompt"; id: number }
  | { kind: "registerTool"; id: number }
  | { kind: "createAgent"; id: number }
  | { kind: "publishAgent"; agent: number; version: number; composition: Uint8Array }
);

/** The registries in memory, as a sequence of actions leaves them. */
export class MemoryRegistry implements RegistryView {
  readonly channels = new Map<number, ChannelInfo>();
  readonly contributions = new Map<number, ContributionInfo>();
  readonly heads = new Map<number, number>();
  readonly lineages = new Map<number, LineageEntry[]>();
  readonly agents = new Map<number, AgentVersion[]>();
  readonly protocolShare: number;

  constructor(protocolShare: number) {
    this.protocolShare = protocolShare;
  }

  perform(action: WorldAction): void {
    const { time } = action;
    switch (action.kind) {
      case "openChannel":
        this.channels.set(action.channel, action);
        break;
      case "createDataNet":
        this.heads.set(action.id, 0);
        break;
      case "submit":
        this.contributions.set(action.id, {
          dataNet: action.dataNet,
          fromVersion: 0,
          untilVersion: 0,
          acceptedAt: 0,
          withdrawnAt: 0,
        });
        break;
      case "accept":
        for (const id of action.ids) {
          Object.assign(this.contributions.get(id)!, { fromVersion: this.#nextOf(action.dataNet), acceptedAt: time });
        }
        break;
      case "publishDataNet":
        this.heads.set(action.dataNet, action.version);
        break;
      case "withdraw": {
        const contribution = this.contributions.get(action.id)!;
        Object.assign(contribution, { untilVersion: this.#nextOf(contribution.dataNet), withdrawnAt: time });
        break;
      }
      case "registerAdapter":
        this.lineages.set(action.id, action.lineage);
        break;
      case "createAgent":
        this.agents.set(action.id, []);
        break;
      case "publishAgent":
        this.agents.get(action.agent)!.push({
          publishedAt: time,
          bytes: action.composition,
          composition: decodeComposition(action.composition),
        });
        break;
      case "registerOperator":
      case "registerPrompt":
      case "registerTool":
        break;
    }
  }

  channel(id: number): ChannelInfo | undefined {
    return this.channels.get(id);
  }

  agentVersion(agent: number, version: number): AgentVersion | undefined {
    return this.agents.get(agent)?.[version - 1];
  }

  contribution(id: number): ContributionInfo | undefined {
    return this.contributions.get(id);
  }

  lineage(adapter: number, version: number, index: number): LineageEntry | undefined {
    return version === 1 ? this.lineages.get(adapter)?.[index] : undefined;
  }

  protocolShareAt(): number {
    return this.protocolShare;
  }

  #nextOf(dataNet: number): number {
    return this.heads.get(dataNet)! + 1;
  }
}
