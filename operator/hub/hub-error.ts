export type HubErrorCode =
  /** No repository, revision or file of this name, or none that may be seen. */
  | "not_found"
  /** The hub wants a token, or terms accepted. */
  | "denied"
  /** The hub cannot be reached or does not answer as one; trying again may help. */
  | "unavailable"
  /** Not asked for, because `HF_HUB_OFFLINE` is set, and not here. */
  | "offline"
  /** What is there is nothing that the engine takes. */
  | "unusable"
  /** More than may be fetched, or than the disk holds. */
  | "too_large"
  /** What came is not what the hub says it is. */
  | "damaged"
  /** A setting in the environment cannot be used. */
  | "settings"
  /** The caller's signal fired. */
  | "cancelled";

/** Why a model or adapter could not be had by its name on a hub. */
export class HubError extends Error {
  readonly code: HubErrorCode;

  constructor(code: HubErrorCode, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "HubError";
    this.code = code;
  }
}
