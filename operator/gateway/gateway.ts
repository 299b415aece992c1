import { AnswerDesk } from "./answer-desk.ts";
import { ApiError, apiErrorOf } from "./api-error.ts";
import { GatewayMetrics } from "./gateway-metrics.ts";
import { DEFAULT_LIMITS, type GatewayLimits, type GatewayOptions } from "./gateway-options.ts";

/** What the routes of one gateway share. */
export class Gateway {
  readonly options: GatewayOptions;
  readonly limits: GatewayLimits;
  readonly metrics = new GatewayMetrics();
  readonly desk: AnswerDesk;
  /** Takes nothing new. */
  isDraining = false;
  /** Ends what is left: the clients have not left by themselves, and their jobs go on. */
  isCutting = false;

  constructor(options: GatewayOptions) {
    this.options = options;
    this.limits = { ...DEFAULT_LIMITS, ...options.limits };
    this.desk = new AnswerDesk(options, this.limits, this.metrics);
  }

  /** What to answer to something that was thrown; what nobody foresaw is noted. */
  errorOf(error: unknown, headers?: Record<string, string>): ApiError {
    const answer = apiErrorOf(error, headers);
    if (answer.code === "internal_error" && !(error instanceof ApiError)) this.options.onError?.(error);
    return answer;
  }
}
