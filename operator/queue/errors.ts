/** Redis did not answer in time. What was asked may still come about; asking again is safe. */
export class QueueUnavailable extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "QueueUnavailable";
  }
}

/** A payer asks for more than its share: for later, and for HTTP's status 429. */
export class QueueLimitReached extends Error {
  /** `jobsInFlight`: too many at once. `requestRate`: too many in a second. */
  readonly code: "jobsInFlight" | "requestRate";
  /** Seconds after which it is worth trying again. Not whole. */
  readonly retryAfter: number;

  constructor(code: QueueLimitReached["code"], message: string, retryAfter: number) {
    super(message);
    this.name = "QueueLimitReached";
    this.code = code;
    this.retryAfter = retryAfter;
  }
}
