import type { Quantisation } from "./graph/matrices.ts";
import type { MetricFamily } from "./metrics.ts";
import type { SparseAttention } from "./model/sparse-attention.ts";

/**
 * What the rest of the node sees of a language model that serves many adapters: the embedded engine and every remote
 * server (vLLM, SGLang, LoRAX, llama.cpp) implement it. All methods may be called at any time and from many callers at
 * once; they throw or reject with `EngineError` only.
 *
 * @example
 * for await (const event of engine.generate({ prompt: { text: "Once" }, adapters: [{ id: "tales" }] })) {
 *   if (event.type === "token") process.stdout.write(event.text);
 * }
 */
export interface Engine {
  /** Model, limits and what this engine can do. Fixed for the life of the engine. */
  info(): Promise<EngineInfo>;

  /**
   * Generates one or more choices. Yields `start` once, `token` events of all choices interleaved, one `finish` per
   * choice, then `done`. Leaving the loop early or firing `signal` cancels and frees everything the request held; a
   * fired signal makes the iterator throw `cancelled`.
   */
  generate(request: GenerateRequest, signal?: AbortSignal): AsyncIterable<GenerateEvent>;

  /**
   * Log-probability of one continuation under each context, natural logarithm, under the model's plain distribution
   * (temperature 1, no penalties). Contexts run in one ragged batch and what they share is computed once.
   */
  score(request: ScoreRequest, signal?: AbortSignal): Promise<ScoreResult>;

  /** Makes an adapter known under `source.id` and reads it once, so that a broken one is refused here. */
  loadAdapter(source: AdapterSource): Promise<AdapterInfo>;
  /** Brings a known adapter into memory ahead of the requests that will need it. */
  prefetchAdapter(id: string): Promise<void>;
  /** A pinned adapter is never pushed out of memory by others. */
  pinAdapter(id: string, pinned: boolean): Promise<void>;
  /** Forgets an adapter. New requests are refused at once; resolves when the last request in flight has ended. */
  unloadAdapter(id: string): Promise<void>;
  /** Known adapters, by id. */
  adapters(): Promise<AdapterInfo[]>;

  /** Counters, gauges and histograms, under the names that dashboards for serving engines already use. */
  metrics(): Promise<MetricFamily[]>;

  /** Takes nothing new (`draining`) and resolves when everything accepted has been answered. */
  drain(): Promise<void>;
  /** Ends at once: requests in flight fail with `closed`. */
  close(): Promise<void>;
}

/** Facts about a running engine. */
export interface EngineInfo {
  /** What serves: `embedded`, `vllm`, `sglang`, `lorax`, `llama.cpp`. */
  readonly kind: string;
  /** Name of the base model as its configuration or server gives it. */
  readonly model: string;
  /** Content hash of the base model's files (hex), where the engine can see them. */
  readonly modelHash?: string;
  /** Longest sequence, prompt and answer together, in tokens. */
  readonly maxContextTokens?: number;
  readonly vocabSize?: number;
  /** Whether greedy output depends on nothing but the request, whatever else runs in the batch. */
  readonly exact: boolean;
  /**
   * What tokens attend to where that is not all before them: another function than the model's, so whoever computes an
   * answer again must do the same. Absent also where a server does not tell.
   */
  readonly sparse?: SparseAttention | undefined;
  /** How the base model's weights are kept: rounded ones give other scores. Absent where a server does not tell. */
  readonly quantisation?: Quantisation | undefined;
  readonly supports: {
    readonly scoring: boolean;
    readonly logprobs: boolean;
    readonly jsonSchema: boolean;
    /** Several weighted adapters in one request. */
    readonly blends: boolean;
    readonly loadAdapters: boolean;
    readonly chat: boolean;
  };
  /** Settings in force and the memory they take in bytes, ready to print. */
  readonly settings: Readonly<Record<string, string | number | boolean>>;
}

/** Text is tokenised with the model's own rule for special tokens; messages go through its chat template. */
export type Prompt =
  | { readonly text: string }
  | { readonly tokens: readonly number[] }
  | { readonly messages: readonly ChatMessage[]; readonly tools?: readonly unknown[] };

export interface ChatMessage {
  readonly role: string;
  readonly content: string;
  readonly name?: string;
  readonly tool_calls?: readonly unknown[];
  readonly tool_call_id?: string;
}

/** One adapter of a request; several make a blend. `weight` multiplies the adapter's own scale, 1 where not given. */
export interface AdapterUse {
  readonly id: string;
  readonly weight?: number;
}

export type ResponseFormat =
  | { readonly type: "text" }
  | { readonly type: "json_object" }
  | { readonly type: "json_schema"; readonly schema: unknown };

/** How tokens are chosen. Everything is optional; the defaults are OpenAI's. */
export interface SamplingOptions {
  /** 0 is greedy. Default 1. */
  readonly temperature?: number;
  /** Keep the smallest set of tokens whose probabilities reach this. (0, 1], default 1. */
  readonly topP?: number;
  /** Keep the k likeliest tokens. 0 or less: all. Default 0. */
  readonly topK?: number;
  /** Keep tokens at least this likely relative to the likeliest. [0, 1], default 0. */
  readonly minP?: number;
  /** Divides positive and multiplies negative logits of tokens seen in prompt or answer. Default 1. */
  readonly repetitionPenalty?: number;
  /** Subtracted once from logits of tokens in the answer. [-2, 2], default 0. */
  readonly presencePenalty?: number;
  /** Subtracted per occurrence from logits of tokens in the answer. [-2, 2], default 0. */
  readonly frequencyPenalty?: number;
  /** Added to logits, by token id. [-100, 100] each. */
  readonly logitBias?: Readonly<Record<string, number>>;
  /** Same seed, same request: same draw. Without one the engine picks one and reports it in `start`. */
  readonly seed?: number;
}

export interface GenerateRequest {
  readonly prompt: Prompt;
  readonly adapters?: readonly AdapterUse[];
  readonly sampling?: SamplingOptions;
  /** Tokens to generate at most, per choice. Default and upper limit: what the context leaves. */
  readonly maxTokens?: number;
  /** Generation ends before the first of these; they are not part of the text. At most 16. */
  readonly stop?: readonly string[];
  /** Go on past the model's end-of-sequence token. Default false. */
  readonly ignoreEos?: boolean;
  /** Choices to generate, sharing the prompt's computation. Default 1. */
  readonly n?: number;
  /** Report the chosen token's log-probability and those of this many likeliest tokens. Undefined: none. */
  readonly logprobs?: number;
  readonly responseFormat?: ResponseFormat;
  /** Who pays: the unit of fairness beside the adapter. Default: everybody without one is the same payer. */
  readonly payer?: string;
}

export interface TokenLogprob {
  readonly tokenId?: number;
  /** The token's text; bytes that are no whole character appear as U+FFFD. */
  readonly token: string;
  readonly bytes: readonly number[];
  /** Natural logarithm, of the model's plain distribution. */
  readonly logprob: number;
}

export interface StartEvent {
  readonly type: "start";
  readonly promptTokenIds?: readonly number[];
  /** What really serves this request: content hashes where the engine can see the files. */
  readonly adapters: readonly { readonly id: string; readonly weight: number; readonly hash?: string }[];
  readonly seed?: number;
}

export interface TokenEvent {
  readonly type: "token";
  readonly choice: number;
  /** Absent where a remote server does not tell. */
  readonly tokenId?: number;
  /** Text that became certain with this token; may be empty (half a character, or the start of a stop string). */
  readonly text: string;
  readonly logprob?: TokenLogprob & { readonly top: readonly TokenLogprob[] };
}

export type FinishReason = "stop" | "length";

export interface FinishEvent {
  readonly type: "finish";
  readonly choice: number;
  readonly reason: FinishReason;
  /** Text still held back when the choice ended. */
  readonly text: string;
  /** The stop string that ended it, if one did. */
  readonly stopString?: string;
}

export interface Usage {
  readonly promptTokens: number;
  /** Prompt tokens whose keys and values were already there. */
  readonly cachedTokens: number;
  readonly completionTokens: number;
}

/** Milliseconds. */
export interface Timings {
  readonly queuedMs: number;
  readonly firstTokenMs: number;
  readonly totalMs: number;
  /** How often this request lost its memory to an older one and was computed again. */
  readonly preemptions: number;
}

export interface DoneEvent {
  readonly type: "done";
  readonly usage: Usage;
  readonly timings: Timings;
}

export type GenerateEvent = StartEvent | TokenEvent | FinishEvent | DoneEvent;

export interface ScoreRequest {
  readonly contexts: readonly Prompt[];
  /** Text is tokenised on its own, without special tokens, and appended to each context's tokens. */
  readonly continuation: { readonly text: string } | { readonly tokens: readonly number[] };
  readonly adapters?: readonly AdapterUse[];
  readonly payer?: string;
}

export interface ScoreResult {
  readonly continuationTokenIds: readonly number[];
  /** One per context, in their order. */
  readonly scores: readonly {
    /** Sum of `tokenLogprobs`. */
    readonly logprob: number;
    readonly tokenLogprobs: readonly number[];
    readonly contextTokens: number;
  }[];
  /** `promptTokens`: contexts and continuations together; `cachedTokens`: those of them that were not computed again. */
  readonly usage: Usage;
}

/** Where an adapter comes from. */
export interface AdapterSource {
  /** The name that requests use. */
  readonly id: string;
  /** PEFT folder, as the engine's own machine sees it. */
  readonly path: string;
  /** Refuse anything else than this content (hex, as {@link AdapterInfo.hash}). */
  readonly expectedHash?: string;
  readonly pinned?: boolean;
}

export interface AdapterInfo {
  readonly id: string;
  readonly path?: string;
  /** Content hash of configuration and weights (hex), where the engine can see the files. */
  readonly hash?: string;
  readonly rank?: number;
  /** Size in memory, bytes. */
  readonly bytes?: number;
  /** Fastest tier that holds it. */
  readonly tier: "disk" | "memory" | "slot" | "remote";
  readonly pinned: boolean;
  /** Requests in flight that use it. */
  readonly inUse: number;
}
