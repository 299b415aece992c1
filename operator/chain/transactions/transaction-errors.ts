import { BaseError, decodeErrorResult, type Hex } from "viem";
import { ALL_ERRORS } from "../contracts.ts";

/** A transaction that cannot succeed as things stand; nothing was sent and nothing was spent. */
export class TransactionRefused extends Error {
  /** The contract's custom error, when it was one. */
  readonly revert: string | undefined;

  constructor(label: string, reason: string, revert?: string, cause?: unknown) {
    super(`${label} would fail: ${reason}`, { cause });
    this.name = "TransactionRefused";
    this.revert = revert;
  }
}

/** A transaction that was mined and failed. */
export class TransactionFailed extends Error {
  readonly hash: Hex;

  constructor(label: string, hash: Hex, reason: string) {
    super(`${label} failed: ${reason} (transaction ${hash})`);
    this.name = "TransactionFailed";
    this.hash = hash;
  }
}

/** Nobody knows yet: it may still be mined. It stays in the journal and must not be sent as another transaction. */
export class TransactionUnknown extends Error {
  readonly hash: Hex;

  constructor(label: string, hash: Hex) {
    super(
      `${label} was sent and is not mined yet (transaction ${hash}); it is kept and looked after on the next start`,
    );
    this.name = "TransactionUnknown";
    this.hash = hash;
  }
}

/** Another process signs for this account. */
export class SignerBusy extends Error {
  constructor(file: string) {
    super(`Another process sends transactions for this account: it holds ${file}. Only one may, or nonces collide.`);
    this.name = "SignerBusy";
  }
}

/** What a node says of a call that reverts: the name and values of a contract's error, or the node's own words. */
export function explainRevert(error: unknown): { text: string; revert?: string } {
  const data = revertData(error);
  if (data && data !== "0x") {
    try {
      const { errorName, args } = decodeErrorResult({ abi: ALL_ERRORS, data });
      if (errorName === "Error") return { text: String(args?.[0]) };
      return { text: `${errorName}(${(args ?? []).map(String).join(", ")})`, revert: errorName };
    } catch {
      // An error of no contract of ours: the node's own words have to do.
    }
  }
  if (error instanceof BaseError) return { text: error.details || error.shortMessage };
  return { text: error instanceof Error ? error.message : String(error) };
}

/** Whether a node has run the call and it reverted, in contrast to not having answered. */
export function isRevert(error: unknown): boolean {
  return revertData(error) !== undefined || /execution reverted|insufficient funds/i.test(explainRevert(error).text);
}

function revertData(error: unknown): Hex | undefined {
  for (let at = error, depth = 0; at instanceof Error && depth < 10; at = at.cause, depth++) {
    const { data } = at as { data?: unknown };
    const inner = typeof data === "object" && data !== null ? (data as { data?: unknown }).data : data;
    if (typeof inner === "string" && /^0x([0-9a-f]{2})*$/i.test(inner)) return inner as Hex;
  }
  return undefined;
}
