import { setTimeout as sleep } from "node:timers/promises";
import type { Deployment } from "../../deploy/deployment.ts";
import type { Composition } from "../protocol/composition.ts";
import type { AgentVersion, ContributionInfo, LineageEntry, RegistryView } from "../protocol/registry-view.ts";
import { type AdapterEntry, adapterVersionIn } from "./mirror/adapters.ts";
import { type AgentEntry, agentNames, agentsIn, agentVersionIn } from "./mirror/agents.ts";
import { type ChannelEntry, channelIn } from "./mirror/channels.ts";
import { type Content, contentIn } from "./mirror/contents.ts";
import { contributionIn, dataNetHeadIn, partsOf, undecidedIn } from "./mirror/data-nets.ts";
import { type MirrorHead, MirrorStore } from "./mirror/mirror-store.ts";
import { type OperatorEntry, operatorIn } from "./mirror/operators.ts";
import { type Payee, payeesAt } from "./mirror/payees.ts";
import { type PostedHeader, postedHeaders } from "./mirror/posted-headers.ts";
import { byOrder } from "./mirror/registry-events.ts";
import { type ChainReader, syncStore } from "./mirror/sync.ts";
import { plainMessage } from "./plain-message.ts";

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

/**
 * A copy of the registries as they stand at settled blocks. Reads are synchronous and cheap: they are what replaying a
 * batch and serving a job ask all the time.
 */
export class RegistryMirror implements RegistryView {
  readonly deployment: Deployment;
  readonly #options: MirrorOptions;
  readonly #store: MirrorStore;
  /** What was answered from the block of this hash. */
  readonly #answers = new Map<string, unknown>();
  #answersOf: string | undefined;
  /** The block up to which the last {@link sync} that worked has read. */
  #syncedTo: string | undefined;
  #lastSuccess: number | undefined;
  #lastError: string | undefined;

  constructor(options: MirrorOptions) {
    const { chainId, contracts } = options.deployment;
    this.deployment = options.deployment;
    this.#options = options;
    this.#store = new MirrorStore(options.file, JSON.stringify({ format: 1, chainId, contracts }));
    this.#answersOf = this.head()?.hash;
    this.#syncedTo = this.#answersOf;
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
      this.#answersOf = hash;
    }
    const changed = this.#answersOf !== this.#syncedTo;
    this.#syncedTo = this.#answersOf;
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
    return this.#cached(`channel ${id}`, () => channelIn(this.#store, id));
  }

  agentVersion(agent: number, version: number): AgentVersion | undefined {
    return this.#cached(`agent ${agent} ${version}`, () => agentVersionIn(this.#store, agent, version));
  }

  contribution(id: number): ContributionInfo | undefined {
    return this.#cached(`contribution ${id}`, () => contributionIn(this.#store, id));
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

  /** The agent of a name: of several, the one registered first. */
  agentByName(name: string): AgentEntry | undefined {
    return this.#cached("agents by name", () => agentNames(this.agents())).get(name);
  }

  /** All agents, by id; those without a version have head 0. */
  agents(): readonly AgentEntry[] {
    return this.#cached("agents", () => agentsIn(this.#store));
  }

  composition(agent: number, version: number): Composition | undefined {
    return this.agentVersion(agent, version)?.composition;
  }

  adapterVersion(id: number, version: number): AdapterEntry | undefined {
    return this.#cached(`adapter ${id} ${version}`, () => adapterVersionIn(this.#store, id, version));
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
    return dataNetHeadIn(this.#store, id);
  }

  /** Ids of the contributions in a version of a DataNet, ascending. */
  contributionsOf(dataNet: number, version: number): readonly number[] {
    return this.#cached(`net ${dataNet} ${version}`, () =>
      partsOf(this.#store, { dataNet, version }, (id) => this.contribution(id)!),
    );
  }

  /** Contributions to a DataNet that its curator has not decided upon, ascending. */
  undecided(dataNet: number): readonly number[] {
    return undecidedIn(this.#store, dataNet, (id) => this.contribution(id)!);
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
    return contentIn(this.#store, id, version);
  }

  operator(id: number): OperatorEntry | undefined {
    return operatorIn(this.#store, id);
  }

  /** Ids of all operators, ascending. */
  operators(): readonly number[] {
    return this.#store.facts("OperatorRegistered").map(({ a }) => a);
  }

  /** The batches of an operator that stand, from height 1 on, as far as the mirror has read. */
  batches(operator: number): readonly PostedHeader[] {
    return this.#cached(`batches ${operator}`, () => {
      const kinds = ["BatchSubmitted", "BatchFell", "BatchFinalized"];
      return postedHeaders(kinds.flatMap((kind) => this.#store.facts(kind, operator)).sort(byOrder));
    });
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
