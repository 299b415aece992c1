import { EngineError, type EngineErrorCode } from "../engine/engine-error.ts";
import { HubError, type HubErrorCode } from "../hub/hub-error.ts";

/** What the command line's exit codes mean. */
export const EXIT = {
  ok: 0,
  /** Something broke that the caller cannot mend by asking differently. */
  failed: 1,
  /** The command or its request makes no sense as it stands. */
  usage: 2,
  /** An adapter is unknown, broken, or not the one expected. */
  adapter: 3,
  /** An operator has lied. */
  lie: 3,
  /** Trying again later helps. */
  unavailable: 4,
  /** Ctrl-C, as shells report it. */
  interrupted: 130,
} as const;

const BY_CODE: Partial<Record<EngineErrorCode, number>> = {
  invalid_request: EXIT.usage,
  context_too_long: EXIT.usage,
  unsupported: EXIT.usage,
  unknown_adapter: EXIT.adapter,
  adapter_failed: EXIT.adapter,
  overloaded: EXIT.unavailable,
  draining: EXIT.unavailable,
  unavailable: EXIT.unavailable,
  timeout: EXIT.unavailable,
  cancelled: EXIT.interrupted,
};

const BY_HUB_CODE: Partial<Record<HubErrorCode, number>> = {
  not_found: EXIT.usage,
  settings: EXIT.usage,
  unavailable: EXIT.unavailable,
  offline: EXIT.unavailable,
  cancelled: EXIT.interrupted,
};

export function exitCodeOf(error: unknown): number {
  if (error instanceof HubError) return BY_HUB_CODE[error.code] ?? EXIT.failed;
  return (error instanceof EngineError && BY_CODE[error.code]) || EXIT.failed;
}
