import { setTimeout as sleep } from "node:timers/promises";
import { decodePaymentSignature } from "../payments/x402/payment-signature.ts";
import { PAYMENT_HEADERS } from "../payments/x402/wire.ts";
import type { AwaitedJob } from "./answer-desk.ts";
import { answerEvents, errorEvent, failureOf, wholeAnswer } from "./answer-job.ts";
import type { GatewayContext } from "./app.ts";
import type { Gateway } from "./gateway.ts";
import { readJson } from "./read-json.ts";

/**
 * Answers a request for an answer: the terms when it is not paid, else the answer, whole or as it comes.
 *
 * @throws {ApiError} And what `apiErrorOf` knows.
 */
export async function answerRequest(c: GatewayContext, path: string, gateway: Gateway): Promise<Response> {
  const { desk, limits, options } = gateway;
  const exit = desk.slots.enter();
  const { outgoing } = c.env;
  const leave = new AbortController();
  // Ends the job where nobody else waits for it, even while nothing of its answer is being written.
  outgoing.once("close", () => {
    exit();
    if (!outgoing.writableFinished) leave.abort(gateway.isCutting ? "closing" : "clientLeft");
  });
  const body = await readJson(c.req.raw, limits.bodyBytes);
  const asked = desk.read(path, body, c.req.url);
  const channel = c.req.header(PAYMENT_HEADERS.channel);
  const signature = c.req.header(PAYMENT_HEADERS.signature);
  if (signature === undefined) throw await desk.payments.unpaid(asked, channel);
  const payment = decodePaymentSignature(signature, options.domain);
  const job = await desk.accept(asked, payment, { channel, leave: leave.signal });
  const headers = { "x-openledger-job": job.jobId };
  try {
    const response = asked.request.stream ? await streamed(job, () => outgoing.destroy(), gateway) : await whole(job);
    response.headers.set("x-openledger-job", job.jobId);
    return response;
  } catch (error) {
    throw gateway.errorOf(error, headers);
  }
}

/** @throws {ApiError} When the job fails. */
async function whole({ news, context }: AwaitedJob): Promise<Response> {
  for await (const item of news) {
    if (item.kind !== "ended") continue;
    if (item.job.state === "failed") throw failureOf(item.job, context.chainId);
    return wholeAnswer(item.job, context);
  }
  // The client has left: nobody reads this.
  return new Response(null, { status: 499 });
}

/** A job that fails before it has said anything is answered with its error and status. */
async function streamed(job: AwaitedJob, cut: () => void, gateway: Gateway): Promise<Response> {
  const first = job.news.next();
  const begun = await soon(first, gateway.limits.firstEventMs);
  if (begun?.done === false && begun.value.kind === "ended" && begun.value.job.state === "failed") {
    await job.news.return(undefined);
    throw failureOf(begun.value.job, job.context.chainId);
  }
  const events = answerEvents(job, startingWith(first, job.news), job.context);
  return new Response(sourceOf(events, cut, gateway), {
    headers: {
      "content-type": "text/event-stream; charset=utf-8",
      "cache-control": "no-store",
      // Proxies that collect what they pass on would hold the tokens back.
      "x-accel-buffering": "no",
    },
  });
}

async function* startingWith<T>(first: Promise<IteratorResult<T>>, rest: AsyncGenerator<T>): AsyncGenerator<T> {
  try {
    const { done, value } = await first;
    if (done) return;
    yield value;
    yield* rest;
  } finally {
    await rest.return(undefined);
  }
}

/**
 * Takes the next event only when the client has taken the last: a stream holds no more than that. A client that leaves
 * it lying is gone.
 */
function sourceOf(events: AsyncGenerator<string>, cut: () => void, gateway: Gateway): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  let untaken: NodeJS.Timeout | undefined;
  let isGone = false;
  return new ReadableStream({
    async pull(controller) {
      clearTimeout(untaken);
      let event: string;
      try {
        const { done, value } = await events.next();
        // Who left while this was awaited has closed the stream.
        if (isGone) return;
        if (done) return controller.close();
        event = value;
      } catch (error) {
        if (isGone) return;
        event = errorEvent(gateway.errorOf(error));
        void events.return(undefined);
      }
      controller.enqueue(encoder.encode(event));
      untaken = setTimeout(cut, gateway.limits.unreadMs);
    },
    cancel() {
      isGone = true;
      clearTimeout(untaken);
      cut();
      void events.return(undefined);
    },
  });
}

async function soon<T>(promise: Promise<T>, milliseconds: number): Promise<T | undefined> {
  const timer = new AbortController();
  const late = sleep(milliseconds, undefined, { signal: timer.signal }).catch(() => undefined);
  try {
    return await Promise.race([promise, late]);
  } finally {
    timer.abort();
  }
}
