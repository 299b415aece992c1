import { Histogram, LATENCY_BOUNDS, type MetricFamily, type MetricSample } from "../engine/metrics.ts";
import type { Answered } from "./answer-job.ts";

/** A counter by labels. */
class Counter {
  readonly #samples = new Map<string, MetricSample>();

  add(labels: Readonly<Record<string, string>>, amount = 1): void {
    const key = Object.values(labels).join("\n");
    this.#samples.set(key, { labels, value: (this.#samples.get(key)?.value ?? 0) + amount });
  }

  samples(): MetricSample[] {
    return [...this.#samples.values()];
  }
}

/** What a gateway counts. Names that dashboards for web servers and serving engines know are used where they exist. */
export class GatewayMetrics {
  readonly #requests = new Counter();
  readonly #seconds = new Map<string, Histogram>();
  readonly #jobs = new Counter();
  readonly #tokens = new Counter();
  readonly #refusals = new Counter();
  readonly #firstToken = new Histogram(LATENCY_BOUNDS);
  readonly #endToEnd = new Histogram(LATENCY_BOUNDS);

  /** @param handler The route's pattern, of which there are few. */
  countRequest(handler: string, method: string, status: number, seconds: number): void {
    this.#requests.add({ handler, method, status: String(status) });
    const known = this.#seconds.get(handler) ?? new Histogram(LATENCY_BOUNDS);
    this.#seconds.set(handler, known);
    known.observe(seconds);
  }

  countRefusal(reason: string): void {
    this.#refusals.add({ reason });
  }

  countAnswer({ outcome, promptTokens, completionTokens, firstTokenMs, totalMs }: Answered): void {
    this.#jobs.add({ outcome });
    this.#tokens.add({ kind: "prompt" }, promptTokens);
    this.#tokens.add({ kind: "completion" }, completionTokens);
    if (firstTokenMs !== undefined) this.#firstToken.observe(firstTokenMs / 1_000);
    if (outcome === "completed") this.#endToEnd.observe(totalMs / 1_000);
  }

  /** @param inFlight Requests for answers being answered. */
  families(inFlight: number): MetricFamily[] {
    const durations = [...this.#seconds].map(([handler, histogram]) => histogram.sample({ handler }));
    return [
      counter("http_requests_total", "Requests by route and status", this.#requests.samples()),
      {
        name: "http_request_duration_seconds",
        type: "histogram",
        help: "Seconds until an answer began, by route",
        samples: durations,
      },
      {
        name: "openledger_requests_in_flight",
        type: "gauge",
        help: "Requests for answers being answered",
        samples: [{ labels: {}, value: inFlight }],
      },
      counter("openledger_jobs_total", "Paid jobs by how they ended for their client", this.#jobs.samples()),
      counter("openledger_tokens_total", "Tokens of answers given by this gateway", this.#tokens.samples()),
      counter("openledger_payments_refused_total", "Vouchers refused, by reason", this.#refusals.samples()),
      {
        name: "openledger_time_to_first_token_seconds",
        type: "histogram",
        help: "Seconds from a paid request to its first token at the gateway",
        samples: [this.#firstToken.sample()],
      },
      {
        name: "openledger_e2e_request_latency_seconds",
        type: "histogram",
        help: "Seconds from a paid request to the end of its answer at the gateway",
        samples: [this.#endToEnd.sample()],
      },
    ];
  }
}

function counter(name: string, help: string, samples: readonly MetricSample[]): MetricFamily {
  return { name, type: "counter", help, samples };
}
