import { type Abi, type Address, decodeEventLog, type Hex } from "viem";
import type { Deployment } from "../../../deploy/deployment.ts";
import { ABIS, type ContractKey } from "../contracts.ts";

/** Something that an event said, under the one or two numbers by which it is looked up. */
export interface Fact {
  /** Name of the event. */
  kind: string;
  /** The contract that said it. */
  source: ContractKey;
  a: number;
  b: number;
  block: number;
  /** Index of the log in its block. */
  log: number;
  /** Of the block, in seconds since 1970. */
  time: number;
  /** The event's arguments; integers above 48 bits are decimal text. */
  data: Record<string, unknown>;
}

const CONTRIBUTION = {
  Registered: ["id"],
  PayeesSet: ["id"],
  PayeesReset: ["id"],
  Transfer: ["tokenId"],
} as const;
const VERSIONED = { ...CONTRIBUTION, VersionPublished: ["id", "version"] } as const;

/** What is kept of each contract's events, and the arguments under which it is kept. */
const KEPT: Partial<Record<ContractKey, Record<string, readonly [string, string?]>>> = {
  dataNets: {
    ...CONTRIBUTION,
    DataNetCreated: ["dataNet"],
    DataNetVersionPublished: ["dataNet", "version"],
    ContributionSubmitted: ["id", "dataNet"],
    ContributionAccepted: ["id", "dataNet"],
    ContributionRejected: ["id", "dataNet"],
    ContributionWithdrawn: ["id", "dataNet"],
  },
  adapters: { ...VERSIONED, AdapterVersionPublished: ["id", "version"] },
  prompts: { ...VERSIONED, PromptVersionPublished: ["id", "version"] },
  tools: { ...VERSIONED, ToolVersionPublished: ["id", "version"] },
  agents: { ...VERSIONED, CompositionPublished: ["agent", "version"] },
  operators: { OperatorRegistered: ["operator"], EndpointSet: ["operator"], SignerSet: ["operator"] },
  channels: {
    ChannelOpened: ["channel", "operator"],
    Deposited: ["channel"],
    Withdrawn: ["channel"],
    ThawStarted: ["channel"],
    ThawCancelled: ["channel"],
  },
  parameters: { ProtocolShareScheduled: ["effectiveAt"] },
  settlement: {
    BatchSubmitted: ["operator", "height"],
    BatchFinalized: ["operator", "height"],
    BatchFell: ["operator", "height"],
  },
};

/** A log as `eth_getLogs` gives it. */
export interface ChainLog {
  address: Address;
  topics: readonly Hex[];
  data: Hex;
  blockNumber: bigint | null;
  blockHash: Hex | null;
  logIndex: number | null;
}

/** For sorting: the order in which facts came to be. */
export function byOrder(one: Fact, other: Fact): number {
  return one.block - other.block || one.log - other.log;
}

/** Addresses whose events are kept. */
export function watchedAddresses(deployment: Deployment): Address[] {
  return (Object.keys(KEPT) as ContractKey[]).map((key) => deployment.contracts[key]!);
}

/** Reads a log; undefined when the mirror has no use for it. */
export function factOf(deployment: Deployment, log: ChainLog, time: number): Fact | undefined {
  const source = (Object.keys(KEPT) as ContractKey[]).find(
    (key) => deployment.contracts[key]?.toLowerCase() === log.address.toLowerCase(),
  );
  if (!source) return undefined;
  const event = decode(ABIS[source], log);
  const keys = event && KEPT[source]?.[event.name];
  if (!event || !keys) return undefined;
  const at = (name: string | undefined) => (name === undefined ? 0 : Number(event.args[name]));
  return {
    kind: event.name,
    source,
    a: at(keys[0]),
    b: at(keys[1]),
    block: Number(log.blockNumber),
    log: Number(log.logIndex),
    time,
    data: event.args,
  };
}

function decode(abi: Abi, log: ChainLog): { name: string; args: Record<string, unknown> } | undefined {
  const [signature, ...topics] = log.topics;
  if (!signature) return undefined;
  try {
    const { eventName, args } = decodeEventLog({ abi, data: log.data, topics: [signature, ...topics] });
    return { name: eventName as unknown as string, args: (args ?? {}) as unknown as Record<string, unknown> };
  } catch (error) {
    // Events that the ABI does not have are none of ours; anything else would be a hole in the mirror.
    if ((error as Error).name === "AbiEventSignatureNotFoundError") return undefined;
    throw error;
  }
}
