import { InvalidRequest } from "../api/invalid-request.ts";
import { PaymentError } from "../payments/payment-error.ts";
import { QueueLimitReached, QueueUnavailable } from "../queue/errors.ts";
import { JournalError, SequencerUnreachable, SettlementError } from "../settlement/errors.ts";

interface ApiErrorDetails {
  /** For programs. */
  code: string;
  /** The field at fault. */
  param?: string | null;
  headers?: Record<string, string>;
}

const TYPES: Record<number, string> = {
  402: "payment_required",
  403: "permission_error",
  429: "rate_limit_error",
};

/** An answer that is an error, in OpenAI's shape. */
export class ApiError extends Error {
  readonly status: number;
  readonly code: string;
  readonly param: string | null;
  readonly headers: Readonly<Record<string, string>>;

  constructor(status: number, message: string, { code, param = null, headers = {} }: ApiErrorDetails) {
    super(message);
    this.name = "ApiError";
    this.status = status;
    this.code = code;
    this.param = param;
    this.headers = headers;
  }

  get body() {
    const type = TYPES[this.status] ?? (this.status < 500 ? "invalid_request_error" : "server_error");
    return { error: { message: this.message, type, param: this.param, code: this.code } };
  }

  response(): Response {
    return Response.json(this.body, { status: this.status, headers: this.headers });
  }
}

/** "Later": the client may send the very same request again, paid or not. */
export function unavailable(message: string, code = "unavailable", headers: Record<string, string> = {}): ApiError {
  return new ApiError(503, message, { code, headers: { "retry-after": "2", ...headers } });
}

/**
 * What to answer when something was thrown. What nobody foresaw is told in one sentence without its insides.
 *
 * @param headers For every answer to this request.
 */
export function apiErrorOf(error: unknown, headers: Record<string, string> = {}): ApiError {
  if (error instanceof ApiError) {
    return new ApiError(error.status, error.message, { ...error, headers: { ...headers, ...error.headers } });
  }
  if (error instanceof InvalidRequest) {
    return new ApiError(400, error.message, { code: error.code, param: error.param, headers });
  }
  if (error instanceof PaymentError) {
    return new ApiError(400, error.message, { code: "invalid_payment", headers });
  }
  if (error instanceof QueueLimitReached) {
    const retryAfter = String(Math.max(1, Math.ceil(error.retryAfter)));
    const details = { code: "rate_limit_exceeded", headers: { ...headers, "retry-after": retryAfter } };
    return new ApiError(429, error.message, details);
  }
  if (error instanceof QueueUnavailable) {
    return unavailable("The queue cannot be reached. Send the same request again.", "unavailable", headers);
  }
  const isStarting = error instanceof SettlementError && error.code === "registryNotReady";
  if (error instanceof SequencerUnreachable || error instanceof JournalError || isStarting) {
    return unavailable("The operator's books cannot be reached. Send the same request again.", "unavailable", headers);
  }
  return new ApiError(500, "Something went wrong here. It has been noted.", { code: "internal_error", headers });
}
