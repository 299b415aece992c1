import type {
  EngineInfo,
  FinishReason,
  GenerateRequest,
  ScoreRequest,
  ScoreResult,
  TokenEvent,
  TokenLogprob,
} from "../engine.ts";
import { EngineError } from "../engine-error.ts";

/** An adapter as one server knows it. */
export interface ServedAdapter {
  /** The name that requests to this node use. */
  readonly id: string;
  /** The name that requests to the server use. */
  readonly name: string;
  /** Its folder, as the server's machine sees it. */
  readonly path?: string;
}

export interface ServedUse extends ServedAdapter {
  readonly weight: number;
}

/** What a server says about itself when it is first asked. */
export interface ServerFacts {
  readonly model: string;
  readonly maxContextTokens?: number;
  readonly vocabSize?: number;
  readonly version?: string;
}

/** One request to a server: `choices` of them where the server can, else one. */
export interface GenerateCall {
  readonly request: GenerateRequest;
  readonly server: ServerFacts;
  readonly adapters: readonly ServedUse[];
  readonly choices: number;
  readonly seed?: number;
}

export interface ScoreCall {
  readonly request: ScoreRequest;
  readonly server: ServerFacts;
  readonly adapters: readonly ServedUse[];
}

/** A piece of a generation, in the order in which the server sent it. */
export type RemoteEvent =
  | { readonly type: "prompt"; readonly tokenIds: readonly number[] }
  | {
      readonly type: "token";
      readonly choice: number;
      readonly tokenId?: number;
      readonly text: string;
      readonly logprob?: TokenEvent["logprob"];
    }
  | { readonly type: "finish"; readonly choice: number; readonly reason: FinishReason; readonly stopString?: string }
  | {
      readonly type: "usage";
      readonly promptTokens: number;
      readonly cachedTokens: number;
      readonly completionTokens: number;
    };

/**
 * What differs from server to server. Functions take the request's signal, throw `EngineError` only, and hold no state
 * of requests: lifecycle, cancellation, stop strings and counting are the same for all and live in `RemoteEngine`.
 */
export interface RemoteProtocol {
  readonly kind: "vllm" | "sglang" | "lorax" | "llama.cpp";
  readonly supports: EngineInfo["supports"];
  /** Whether one request can give several choices. */
  readonly severalChoices: boolean;
  readonly facts: (signal?: AbortSignal) => Promise<ServerFacts>;
  /** Adapters that the server has now, under the ids that requests may use without loading them first. */
  readonly served: (signal?: AbortSignal) => Promise<ServedAdapter[]>;
  /** Makes an adapter ready; the id it will have at the server is `name`. Returns how the server knows it. */
  readonly load: (adapter: ServedAdapter & { pinned: boolean }, signal?: AbortSignal) => Promise<ServedAdapter>;
  readonly unload: (adapter: ServedAdapter, signal?: AbortSignal) => Promise<void>;
  readonly generate: (call: GenerateCall, signal: AbortSignal) => AsyncIterable<RemoteEvent>;
  readonly score?: (call: ScoreCall, signal: AbortSignal) => Promise<ScoreResult>;
}

/** @throws EngineError `unsupported` */
export function unsupported(server: string, what: string): never {
  throw new EngineError("unsupported", `${server} cannot ${what}`, { server });
}

/** The one adapter of a request to a server that neither blends nor scales; undefined for the base model. */
export function onlyAdapter(server: string, adapters: readonly ServedUse[]): ServedUse | undefined {
  if (adapters.length > 1) unsupported(server, "blend several adapters in one request");
  const adapter = adapters[0];
  if (adapter !== undefined && adapter.weight !== 1) unsupported(server, "scale an adapter by a weight");
  return adapter;
}

/** @throws EngineError `invalid_request` on a continuation without tokens */
export function checkedContinuation<Tokens extends readonly number[]>(tokens: Tokens): Tokens {
  if (tokens.length === 0) throw new EngineError("invalid_request", "The continuation has no tokens");
  return tokens;
}

/** The stream ended before the server said that it was finished. */
export function cutStream(server: string): EngineError {
  return new EngineError("unavailable", `${server}: the stream ended in the middle of the answer`, { server });
}

/** Builds a token's log-probability entry where the server gives text but no bytes. */
export function textLogprob(token: string, logprob: number, tokenId?: number): TokenLogprob {
  return { ...(tokenId !== undefined && { tokenId }), token, bytes: [...new TextEncoder().encode(token)], logprob };
}

/** The `count` likeliest, likeliest first. */
export function likeliest(entries: readonly TokenLogprob[], count: number): TokenLogprob[] {
  return [...entries].sort((a, b) => b.logprob - a.logprob).slice(0, count);
}

/** Sum and pieces of one scored context. */
export function scoreOf(tokenLogprobs: readonly number[], contextTokens: number): ScoreResult["scores"][number] {
  return { logprob: tokenLogprobs.reduce((sum, value) => sum + value, 0), tokenLogprobs, contextTokens };
}
