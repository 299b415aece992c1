import type { AdapterSource, EngineInfo, GenerateEvent, GenerateRequest, ScoreRequest } from "../engine.ts";
import type { EngineErrorCode } from "../engine-error.ts";
import type { EngineSettings } from "./settings.ts";

/** What the engine's thread is started with. */
export interface ThreadData {
  readonly settings: EngineSettings;
  /** Registered before the first request, without being read. */
  readonly adapters: readonly AdapterSource[];
}

/** What can be asked of the thread besides text. Each is answered once, with a value or an error. */
export type Call =
  | { readonly method: "score"; readonly request: ScoreRequest }
  | { readonly method: "loadAdapter"; readonly source: AdapterSource }
  | { readonly method: "registerAdapters"; readonly sources: readonly AdapterSource[] }
  | { readonly method: "prefetchAdapter" | "unloadAdapter"; readonly id: string }
  | { readonly method: "pinAdapter"; readonly id: string; readonly pinned: boolean }
  | { readonly method: "adapters" | "metrics" | "drain" | "close" };

/** From the engine's owner to its thread. `key` names the request in all messages about it. */
export type ToThread = { readonly key: number } & (
  | { readonly kind: "call"; readonly call: Call }
  | { readonly kind: "generate"; readonly request: GenerateRequest }
  | { readonly kind: "cancel" }
);

export interface PlainError {
  readonly code: EngineErrorCode;
  readonly message: string;
  readonly details: Readonly<Record<string, unknown>>;
}

/** One answer; the thread sends them in lists, one list per step. */
export type Answer =
  | { readonly kind: "ready"; readonly info: EngineInfo }
  | { readonly kind: "event"; readonly key: number; readonly event: GenerateEvent }
  | { readonly kind: "value"; readonly key: number; readonly value: unknown }
  | { readonly kind: "error"; readonly key: number; readonly error: PlainError };

/** Key of errors that concern the whole engine. */
export const ENGINE_KEY = -1;
