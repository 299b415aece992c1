import { setTimeout as sleep } from "node:timers/promises";
import { readInferenceRequest } from "../api/inference-request.ts";
import { InvalidRequest } from "../api/invalid-request.ts";
import { completedPayment } from "../payments/quote.ts";
import { requestBytes } from "../payments/request-bytes.ts";
import { encodePaymentResponse, settleResponse } from "../payments/x402/payment-response.ts";
import type { SignedPayment } from "../payments/x402/payment-signature.ts";
import { PAYMENT_HEADERS } from "../payments/x402/wire.ts";
import type { Hex } from "../protocol/bytes.ts";
import type { Voucher } from "../protocol/voucher.ts";
import type { AdmittedJob, JobRecord, ReceiptRecord } from "../settlement/sequencer.ts";
import { resolveAgent } from "./agents.ts";
import { type AnswerContext, countNews } from "./answer-job.ts";
import { ApiError, apiErrorOf } from "./api-error.ts";
import { followJob, type JobNews } from "./follow-job.ts";
import type { GatewayMetrics } from "./gateway-metrics.ts";
import type { GatewayLimits, GatewayOptions } from "./gateway-options.ts";
import { type AskedRequest, PaymentDesk } from "./payment-desk.ts";
import { ReceiptsView } from "./receipts-view.ts";
import { RequestSlots } from "./request-slots.ts";

/** A job that a client waits for. */
export interface AwaitedJob {
  jobId: Hex;
  /** Seconds since 1970. */
  admittedAt: number;
  news: AsyncGenerator<JobNews>;
  context: AnswerContext;
}

/** Why a job is not followed any more. */
export type Leaving = "clientLeft" | "closing";

/**
 * Takes requests for answers, whether they come by HTTP or as a tool call: reads, quotes, is paid, queues and follows.
 */
export class AnswerDesk {
  readonly payments: PaymentDesk;
  readonly receipts: ReceiptsView;
  readonly slots: RequestSlots;
  readonly #options: GatewayOptions;
  readonly #limits: GatewayLimits;
  readonly #metrics: GatewayMetrics;
  /** How many clients of this gateway wait for a job. */
  readonly #waiting = new Map<Hex, number>();

  constructor(options: GatewayOptions, limits: GatewayLimits, metrics: GatewayMetrics) {
    this.#options = options;
    this.#limits = limits;
    this.#metrics = metrics;
    this.payments = new PaymentDesk(options, (refusal) => metrics.countRefusal(refusal));
    this.receipts = new ReceiptsView(options);
    this.slots = new RequestSlots(limits.requests, limits.requestsPerChannel);
  }

  /**
   * Understands a request for an answer.
   *
   * @param body What parsing its JSON gave.
   * @throws {InvalidRequest}
   * @throws {ApiError} 404 when the agent is not here.
   */
  read(path: string, body: unknown, url: string): AskedRequest {
    const request = readInferenceRequest(path, body);
    const agent = resolveAgent(request.model, this.#options);
    try {
      return { request, bytes: requestBytes(path, body), agent, url };
    } catch (error) {
      if (error instanceof TypeError) throw new InvalidRequest(`${error.message}.`, null);
      throw error;
    }
  }

  /**
   * Takes a paid request and puts it on its way.
   *
   * @param channel Value of `x-openledger-channel`.
   * @param leave Fires when the client has left, or must.
   * @throws {ApiError} With the job's id in its headers once there is one.
   */
  async accept(
    asked: AskedRequest,
    payment: SignedPayment,
    { channel, leave }: { channel?: string; leave: AbortSignal },
  ): Promise<AwaitedJob> {
    const { voucher } = payment;
    const { queue, sequencer } = this.#options;
    this.slots.checkChannel(voucher.channel);
    await queue.checkLimits(voucher.channel);
    const taken = await this.payments.take(asked, payment, channel);
    let exit: (() => void) | undefined;
    try {
      exit = await this.#letIn(taken, voucher);
      const job = (await sequencer.job(taken.jobId))!;
      if (job.receipt && !job.response) throw goneError(job.receipt, this.#options.domain.chainId);
      const context: AnswerContext = {
        request: asked.request,
        chainId: this.#options.domain.chainId,
        attribution: (record) => this.receipts.attribution(record),
      };
      const news = this.#follow(job, leave, exit);
      return { jobId: taken.jobId, admittedAt: job.admittedAt, news, context };
    } catch (error) {
      exit?.();
      throw apiErrorOf(error, { "x-openledger-job": taken.jobId });
    }
  }

  /**
   * What became of a job's payment, in the form of x402.
   *
   * @param job Of the sequencer.
   */
  payment({ jobId, state, receipt, reason = "no reason given" }: JobRecord) {
    const { chainId } = this.#options.domain;
    if (receipt) return settleResponse(completedPayment(receipt), chainId);
    return settleResponse(state === "failed" ? { state, jobId, reason } : { state: "accepted", jobId }, chainId);
  }

  /** Takes a place of the channel, and puts the job into the queue. */
  async #letIn({ jobId, state, status }: AdmittedJob, { channel, agent }: Voucher): Promise<() => void> {
    let exit: (() => void) | undefined;
    try {
      exit = this.slots.enterChannel(channel);
      if (state === "accepted") await this.#options.queue.add({ jobId, channel, agent });
      return exit;
    } catch (thrown) {
      exit?.();
      const error = apiErrorOf(thrown);
      // What is not let in is not to come back from the journal; a job sent again may be on its way already.
      if (error.status !== 429 || status !== "admitted") throw thrown;
      const reason = `rateLimited: ${error.message}`;
      await this.#options.sequencer.fail(jobId, reason);
      const outcome = encodePaymentResponse({ state: "failed", jobId, reason }, this.#options.domain.chainId);
      throw apiErrorOf(error, { [PAYMENT_HEADERS.response]: outcome });
    }
  }

  /** Follows a job. When the client leaves, that is acted upon at once, whether or not anybody takes the next news. */
  #follow(job: JobRecord, leave: AbortSignal, exit: () => void): AsyncGenerator<JobNews> {
    const { jobId } = job;
    this.#waiting.set(jobId, (this.#waiting.get(jobId) ?? 0) + 1);
    const tooLong = new AbortController();
    const timer = setTimeout(() => tooLong.abort(), this.#limits.answerMs);
    let isOver = false;
    const end = (isLeft: boolean) => {
      if (isOver) return;
      isOver = true;
      clearTimeout(timer);
      leave.removeEventListener("abort", onLeave);
      exit();
      const others = this.#waiting.get(jobId)! - 1;
      if (others > 0) this.#waiting.set(jobId, others);
      else this.#waiting.delete(jobId);
      if (isLeft && others === 0) void this.#cancel(jobId);
    };
    const onLeave = () => end(leave.reason !== ("closing" satisfies Leaving));
    leave.addEventListener("abort", onLeave);
    if (leave.aborted) onLeave();
    return this.#news(job, { leave, tooLong: tooLong.signal, end });
  }

  /** @param following.end To be told whether the client went before the end. */
  async *#news(
    job: JobRecord,
    { leave, tooLong, end }: { leave: AbortSignal; tooLong: AbortSignal; end: (isLeft: boolean) => void },
  ): AsyncGenerator<JobNews> {
    const { queue, sequencer, onError } = this.#options;
    const signal = AbortSignal.any([leave, tooLong]);
    let isLeft = true;
    try {
      const { pulseMs } = this.#limits;
      const news = followJob(job, { queue, sequencer, pulseMs, signal, onTrouble: onError });
      for await (const item of countNews(news, (answered) => this.#metrics.countAnswer(answered))) {
        if (item.kind === "ended") isLeft = false;
        yield item;
      }
    } catch (error) {
      // Nobody reads what is said to a client that has left.
      if (leave.aborted) return;
      if (!tooLong.aborted) throw error;
      isLeft = false;
      throw tooLongError(job.jobId);
    } finally {
      end(isLeft);
    }
  }

  async #cancel(jobId: Hex): Promise<void> {
    for (let attempt = 0; attempt < 3; attempt++) {
      try {
        return await this.#options.queue.cancel(jobId);
      } catch (error) {
        this.#options.onError?.(error);
        await sleep(1_000 * 2 ** attempt, undefined, { ref: false });
      }
    }
  }
}

/** Charged and settled long ago: the books keep receipts for ever, and texts for a while. */
function goneError(receipt: ReceiptRecord, chainId: bigint): ApiError {
  const headers = { [PAYMENT_HEADERS.response]: encodePaymentResponse(completedPayment(receipt), chainId) };
  return new ApiError(410, "The answer was given long ago and is not kept any more.", { code: "answer_gone", headers });
}

function tooLongError(jobId: Hex): ApiError {
  const message =
    "The answer takes longer than this node waits. The job goes on: send the same voucher again to join it.";
  return new ApiError(504, message, { code: "timeout", headers: { "x-openledger-job": jobId } });
}
