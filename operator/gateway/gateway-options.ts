import type { AttributionRegistry } from "../api/attribution.ts";
import type { MetricFamily } from "../engine/metrics.ts";
import type { Hex } from "../protocol/bytes.ts";
import type { BatchHeader } from "../protocol/header.ts";
import type { VoucherDomain } from "../protocol/voucher.ts";
import type { JobEvent, LostEvent } from "../queue/job-events.ts";
import type { QueuedJob } from "../queue/job-queue.ts";
import type { Sequencer } from "../settlement/sequencer.ts";

/** What a gateway asks of the queue; `JobQueue` has it. All throw `QueueUnavailable` when Redis does not answer. */
export interface JobStream {
  /** Throws `QueueLimitReached` when {@link add} would. */
  checkLimits(channel: number): Promise<void>;
  /** Puts an admitted job in; one that is in stays as it is. Throws `QueueLimitReached`. */
  add(job: QueuedJob): Promise<void>;
  /** The events of a job from a piece on, ending with the terminal one or with the signal. */
  events(jobId: Hex, options: { from: number; signal: AbortSignal }): AsyncIterable<JobEvent | LostEvent>;
  /** Nobody waits for the answer any more. */
  cancel(jobId: Hex): Promise<void>;
  counts(): Promise<unknown>;
}

/** What a gateway asks of the registries; `RegistryMirror` has it. */
export interface GatewayRegistry extends AttributionRegistry {
  agents(): readonly { id: number; name: string; owner: string; head: number }[];
  agentByName(name: string): { id: number; name: string; owner: string; head: number } | undefined;
  contentOf(id: number): { name: string; kind: string; contentHash: string; licence: string } | undefined;
  /** The batches of an operator that stand on the chain, from height 1 on. */
  batches(operator: number): readonly { header: BatchHeader; headerHash: Hex; submittedAt: number; final: boolean }[];
  head(): { time: number } | undefined;
  /** Milliseconds since 1970 of the last look at the chain that worked. */
  health(): { lastSuccess: number | undefined };
}

/** Batches that are not on the chain yet, where the journal is at hand; `Journal` has it. */
export interface GatewayBooks {
  batch(sequence: number): { registryTime: number; header: BatchHeader | undefined } | undefined;
  published(dataHash: Uint8Array): Uint8Array | undefined;
}

/** What the rest of the node says of itself. */
export interface NodeReport {
  /** Sentences about what somebody has to look at. */
  alarms: readonly string[];
  /** End of the last round of settling in which nothing failed, seconds since 1970. */
  lastSettlement?: number;
}

/** A passage of a DataNet. */
export interface FoundPassage {
  data_net: number;
  version: number;
  contribution: number;
  path: string;
  text: string;
  score: number;
}

export type SearchDataNets = (search: {
  query: string;
  /** All that this node has, unless given. */
  dataNets?: readonly number[];
  limit: number;
}) => Promise<FoundPassage[]>;

/** Bounds against clients that ask too much, too slowly, or do not listen. Times are milliseconds. */
export interface GatewayLimits {
  /** Bytes of a body. Default 4 MiB. */
  bodyBytes: number;
  /** Time for a request's headers, and for all of it. Defaults 10 s and 30 s. */
  headersMs: number;
  requestMs: number;
  /** Requests for answers at a time in all, and of one channel. Defaults 512 and 64. */
  requests: number;
  requestsPerChannel: number;
  /** Connections at a time. Default 4,096. */
  connections: number;
  /** How long a client may leave what was sent unread. Default 30 s. */
  unreadMs: number;
  /** How long an answer may take. Default 15 min. */
  answerMs: number;
  /** Between two signs of life in a stream whose next token takes its time. Default 10 s. */
  pulseMs: number;
  /** How long a request for an answer waits for its first token before it starts an empty stream. Default 2 s. */
  firstEventMs: number;
  /** Age of the registries' copy from which the node is not ready. Default 2 min. */
  mirrorAgeMs: number;
}

export const DEFAULT_LIMITS: GatewayLimits = {
  bodyBytes: 4 * 1_048_576,
  headersMs: 10_000,
  requestMs: 30_000,
  requests: 512,
  requestsPerChannel: 64,
  connections: 4_096,
  unreadMs: 30_000,
  answerMs: 900_000,
  pulseMs: 10_000,
  firstEventMs: 2_000,
  mirrorAgeMs: 120_000,
};

export interface GatewayOptions {
  /** Default: this machine only. */
  host?: string;
  /** Default: one that is free. */
  port?: number;
  operator: number;
  /** The contract that vouchers are for, and the token they are paid in. */
  domain: VoucherDomain;
  asset: Hex;
  /** The longest life of a voucher, in seconds. */
  voucherLife: number;
  registry: GatewayRegistry;
  sequencer: Sequencer;
  queue: JobStream;
  /** Whether the node has a base model, by its hash. */
  servesModel: (baseModel: Uint8Array) => boolean;
  /** Tokens of a text, for quotes. Default: a token for three bytes. */
  countTokens?: (text: string) => number | Promise<number>;
  /** Tokens that retrieved passages and a prompt may add to a question, for quotes. Default 2,048. */
  contextTokens?: number;
  /** Tokens of an answer whose client gave no maximum, for quotes. Default 256. */
  answerTokens?: number;
  /** Where the journal is at hand. */
  books?: GatewayBooks;
  /** Where the batches' data are published. */
  publishedDirectory?: string;
  searchDataNets?: SearchDataNets;
  report?: () => NodeReport | Promise<NodeReport>;
  /** Families of other parts of the node. */
  metrics?: readonly (() => Promise<readonly MetricFamily[]>)[];
  /** Origins of web pages that may use this node; `*` for all. Default: none but its own. */
  cors?: readonly string[];
  limits?: Partial<GatewayLimits>;
  /** Called with what nobody foresaw. */
  onError?: (error: unknown) => void;
}
