import { setTimeout as sleep } from "node:timers/promises";
import type { Address, Hex } from "viem";
import type { Deployment } from "../../deploy/deployment.ts";
import { isPartOf } from "../protocol/attribution-rules.ts";
import { fromHex } from "../protocol/bytes.ts";
import { type Composition, decodeComposition } from "../protocol/composition.ts";
import type {
  AgentVersion,
  ChannelInfo,
  ContributionInfo,
  LineageEntry,
  RegistryView,
} from "../protocol/registry-view.ts";
import type { ContractKey } from "./contracts.ts";
import { type MirrorHead, MirrorStore } from "./mirror/mirror-store.ts";
import { type Payee, payeesAt } from "./mirror/payees.ts";
import { type PostedHeader, postedHeaders } from "./mirror/posted-headers.ts";
import type { Fact } from "./mirror/registry-events.ts";
import { type ChainReader, syncStore } from "./mirror/sync.ts";
import { plainMessage } from "./plain-message.ts";

export type Kind = "dataNet" | "data" | "adapter" | "prompt" | "tool" | "agent";

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

/** An agent by its name. Versions run from 1 to `head`. */
export interface AgentEntry {
  id: number;
  name: string;
  owner: Address;
  head: number;
}

/** A channel beyond what the protocol's rules ask for. Amounts are wei of OPEN, times seconds since 1970. */
export interface ChannelEntry extends ChannelInfo {
  payer: Address;
  /** What the payer has announced to withdraw; 0 for nothing. */
  thawing: bigint;
  thawReadyAt: number;
}

export interface OperatorEntry {
  id: number;
  owner: Address;
  signer: Address;
  endpoint: string;
}

export interface AdapterEntry {
  baseModel: Hex;
  weightsHash: Hex;
  rank: number;
  targetModules: string;
  lineage: readonly LineageEntry[];
}

interface MirrorOptions {
  /** SQLite file, or `:memory:`. Several processes may share one. */
  file: string;
  reader: ChainReader;
  deployment: Deployment;
  /** Blocks below the newest that count as settled; without it the node's own notion of finality (`finalized`). */
  confirmations?: number;
  /** Blocks in one request for logs at most. */
  maxRange?: number;
}

interface FollowOptions {
  /** Milliseconds between looks at the chain. Default 4,000. */
  interval?: number;
  /** Called after each look that found something new. */
  onChange?: (head: MirrorHead) => void;
  /** Called after each look that failed; following goes on. */
  onError?: (error: Error) => void;
}

/** How following goes, for health checks. Times are milliseconds since 1970. */
export interface MirrorHealth {
  head: MirrorHead | undefined;
  lastSuccess: number | undefined;
  lastError: string | undefined;
}

const KINDS: Partial<Record<ContractKey, Kind>> = {
  adapters: "adapter",
  prompts: "prompt",
  tools: "tool",
  agents: "agent",
};

/**
 * A copy of the registries as they stand at settled blocks. Reads are synchronous and cheap: they are what replaying a
 * batch and serving a job ask all the time.
 */
export class RegistryMirror implements RegistryView {
  readonly deployment: Deployment;
  readonly #options: MirrorOptions;
  readonly #store: MirrorStore;
  readonly #answers = new Map<string, unknown>();
  #answersOf: string | undefined;
  #lastSuccess: number | undefined;
  #lastError: string | undefined;

  constructor(options: MirrorOptions) {
    const { chainId, contracts } = options.deployment;
    this.deployment = options.deployment;
    this.#options = options;
    this.#store = new MirrorStore(options.file, JSON.stringify({ format: 1, chainId, contracts }));
    this.#answersOf = this.head()?.hash;
  }

  /** The block up to which the mirror has read; its time is the newest registry time that it can answer for. */
  head(): MirrorHead | undefined {
    return this.#store.head();
  }

  health(): MirrorHealth {
    return { head: this.head(), lastSuccess: this.#lastSuccess, lastError: this.#lastError };
  }

  /**
   * Reads up to the newest settled block.
   *
   * @returns Whether there was anything new.
   * @throws {ChainMoved} When the chain changed meanwhile, and whatever the reader throws; what was read stays.
   */
  async sync(signal?: AbortSignal): Promise<boolean> {
    try {
      await syncStore({ ...this.#options, store: this.#store, signal });
      this.#lastSuccess = Date.now();
      this.#lastError = undefined;
    } catch (error) {
      this.#lastError = plainMessage(error);
      throw error;
    } finally {
      // The head tells also of what another process has read into the same file.
      const hash = this.head()?.hash;
      if (hash !== this.#answersOf) this.#answers.clear();
    }
    const hash = this.head()?.hash;
    const changed = hash !== this.#answersOf;
    this.#answersOf = hash;
    return changed;
  }

  /** Keeps reading until the signal fires. Failures are reported and outlived, with growing pauses up to a minute. */
  async follow(signal: AbortSignal, options: FollowOptions = {}): Promise<void> {
    const { interval = 4_000, onChange, onError } = options;
    let failures = 0;
    while (!signal.aborted) {
      try {
        if (await this.sync(signal)) onChange?.(this.head()!);
        failures = 0;
      } catch (error) {
        if (signal.aborted) return;
        failures++;
        onError?.(error as Error);
      }
      const pause = failures === 0 ? interval : Math.min(60_000, interval * 2 ** Math.min(failures, 10));
      await sleep(pause, undefined, { signal }).catch(() => undefined);
    }
  }

  close(): void {
    this.#store.close();
  }

  channel(id: number): ChannelEntry | undefined {
    return this.#cached(`channel ${id}`, () => {
      const [opened] = this.#store.facts("ChannelOpened", id);
      if (!opened) return undefined;
      const { operator, sessionKey, payer } = opened.data as { operator: number; sessionKey: Hex; payer: Address };
      const withdrawals = this.#store.facts("Withdrawn", id);
      const moved = newest([...this.#store.facts("Deposited", id), ...withdrawals]);
      const thaw = newest([
        ...withdrawals,
        ...this.#store.facts("ThawStarted", id),
        ...this.#store.facts("ThawCancelled", id),
      ]);
      const thaws = thaw?.kind === "ThawStarted";
      return {
        operator,
        sessionKey,
        payer,
        deposit: BigInt((moved?.data.deposit as string | undefined) ?? 0),
        thawing: thaws ? BigInt(thaw.data.amount as string) : 0n,
        thawReadyAt: thaws ? Number(thaw.data.readyAt) : 0,
      };
    });
  }

  agentVersion(agent: number, version: number): AgentVersion | undefined {
    return this.#cached(`agent ${agent} ${version}`, () => {
      const [published] = this.#store.facts("CompositionPublished", agent, version);
      if (!published) return undefined;
      const bytes = fromHex(published.data.composition as string);
      return { publishedAt: published.time, bytes, composition: decodeComposition(bytes) };
    });
  }

  contribution(id: number): ContributionInfo | undefined {
    return this.#cached(`contribution ${id}`, () => {
      const [submitted] = this.#store.facts("ContributionSubmitted", id);
      if (!submitted) return undefined;
      const [accepted] = this.#store.facts("ContributionAccepted", id);
      const [withdrawn] = this.#store.facts("ContributionWithdrawn", id);
      return {
        dataNet: submitted.b,
        fromVersion: (accepted?.data.fromVersion as number | undefined) ?? 0,
        untilVersion: (withdrawn?.data.untilVersion as number | undefined) ?? 0,
        acceptedAt: accepted?.time ?? 0,
        withdrawnAt: withdrawn?.time ?? 0,
      };
    });
  }

  lineage(adapter: number, version: number, index: number): LineageEntry | undefined {
    return this.adapterVersion(adapter, version)?.lineage[index];
  }

  protocolShareAt(time: number): number {
    const schedule = this.#cached("shares", () =>
      this.#store
        .facts("ProtocolShareScheduled")
        .map(({ a, data }) => ({ from: a, share: data.sharePpm as number }))
        // Stable: of two for the same time the one announced later counts.
        .sort((one, other) => one.from - other.from),
    );
    return schedule.findLast(({ from }) => from <= time)?.share ?? 0;
  }

  /**
   * The agent of a name. Names are free for all on the chain; here a name belongs to whoever registered it first.
   */
  agentByName(name: string): AgentEntry | undefined {
    return this.agents().find((agent) => agent.name === name);
  }

  /** All agents, by id; those without a version have head 0. */
  agents(): readonly AgentEntry[] {
    return this.#cached("agents", () =>
      this.#store
        .facts("Registered")
        .filter(({ source }) => source === "agents")
        .map(({ a: id, data }) => ({
          id,
          name: data.name as string,
          owner: this.#ownerOf(id)!,
          head: this.#store.facts("CompositionPublished", id).length,
        })),
    );
  }

  composition(agent: number, version: number): Composition | undefined {
    return this.agentVersion(agent, version)?.composition;
  }

  adapterVersion(id: number, version: number): AdapterEntry | undefined {
    return this.#cached(`adapter ${id} ${version}`, () => {
      const [details] = this.#store.facts("AdapterVersionPublished", id, version);
      const [published] = this.#store.facts("VersionPublished", id, version);
      if (!details || !published) return undefined;
      const { baseModel, rank, targetModules, lineage } = details.data as unknown as AdapterEntry;
      return { baseModel, weightsHash: published.data.contentHash as Hex, rank, targetModules, lineage };
    });
  }

  /** Names of the variables that a version of a prompt leaves open. */
  promptVariables(id: number, version: number): readonly string[] | undefined {
    return this.#store.facts("PromptVersionPublished", id, version)[0]?.data.variables as string[] | undefined;
  }

  /** Where a version of a tool is reached. */
  toolEndpoint(id: number, version: number): string | undefined {
    return this.#store.facts("ToolVersionPublished", id, version)[0]?.data.endpoint as string | undefined;
  }

  /** The newest version of a DataNet; 0 before the first, undefined when there is no such DataNet. */
  dataNetHead(id: number): number | undefined {
    if (this.#store.facts("DataNetCreated", id).length === 0) return undefined;
    return this.#store.facts("DataNetVersionPublished", id).length;
  }

  /** Ids of the contributions in a version of a DataNet, ascending. */
  contributionsOf(dataNet: number, version: number): readonly number[] {
    return this.#cached(`net ${dataNet} ${version}`, () =>
      this.#store
        .factsUnder("ContributionSubmitted", dataNet)
        .map(({ a }) => a)
        .filter((id) => {
          const contribution = this.contribution(id)!;
          return contribution.acceptedAt > 0 && isPartOf(contribution, { dataNet, version });
        })
        .sort((one, other) => one - other),
    );
  }

  /** Contributions to a DataNet that its curator has not decided upon, ascending. */
  undecided(dataNet: number): readonly number[] {
    return this.#store
      .factsUnder("ContributionSubmitted", dataNet)
      .map(({ a }) => a)
      .filter((id) => {
        const { acceptedAt, withdrawnAt } = this.contribution(id)!;
        return acceptedAt === 0 && withdrawnAt === 0 && this.#store.facts("ContributionRejected", id).length === 0;
      });
  }

  /**
   * Who is paid for an id, as `claim` takes it: the empty list stands for the owner alone.
   *
   * @param at Seconds since 1970; the head's time unless given.
   */
  payeesOf(id: number, at: number = this.head()?.time ?? 0): readonly Payee[] {
    const changes = [...this.#store.facts("PayeesSet", id), ...this.#store.facts("PayeesReset", id)];
    return payeesAt(changes.sort(byOrder), at);
  }

  /** What is known of an id; of a version of it where it has versions (the newest unless given). */
  contentOf(id: number, version?: number): Content | undefined {
    const [registered] = this.#store.facts("Registered", id);
    if (!registered) return undefined;
    const { name, contentHash, uri, licence } = registered.data as Record<"name" | "uri" | "licence", string> & {
      contentHash: Hex;
    };
    const kind = KINDS[registered.source] ?? (this.contribution(id) ? "data" : "dataNet");
    const entry = { id, kind, name, owner: this.#ownerOf(id)!, licence };
    const versions = kind === "agent" ? [] : this.#store.facts("VersionPublished", id);
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

  operator(id: number): OperatorEntry | undefined {
    const [registered] = this.#store.facts("OperatorRegistered", id);
    if (!registered) return undefined;
    const latest = (kind: string) => this.#store.facts(kind, id).at(-1)?.data;
    return {
      id,
      owner: registered.data.owner as Address,
      signer: (latest("SignerSet")?.signer ?? registered.data.signer) as Address,
      endpoint: (latest("EndpointSet")?.endpoint ?? registered.data.endpoint) as string,
    };
  }

  /** Ids of all operators, ascending. */
  operators(): readonly number[] {
    return this.#store.facts("OperatorRegistered").map(({ a }) => a);
  }

  /** The batches of an operator that stand, from height 1 on, as far as the mirror has read. */
  batches(operator: number): readonly PostedHeader[] {
    return this.#cached(`batches ${operator}`, () =>
      postedHeaders(
        ["BatchSubmitted", "BatchFell", "BatchFinalized"]
          .flatMap((kind) => this.#store.facts(kind, operator))
          .sort(byOrder),
      ),
    );
  }

  #ownerOf(id: number): Address | undefined {
    return this.#store.facts("Transfer", id).at(-1)?.data.to as Address | undefined;
  }

  #cached<T>(key: string, read: () => T): T {
    const known = this.#answers.get(key);
    if (known !== undefined) return known as T;
    // What is not there is not remembered: anybody may ask for any number.
    const answer = read();
    if (answer !== undefined) this.#answers.set(key, answer);
    return answer;
  }
}

function newest(facts: Fact[]): Fact | undefined {
  return facts.sort(byOrder).at(-1);
}

function byOrder(one: Fact, other: Fact): number {
  return one.block - other.block || one.log - other.log;
}
