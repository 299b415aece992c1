import { Histogram, LATENCY_BOUNDS, type MetricFamily, type MetricSample } from "../metrics.ts";

/** What this node can see of a remote server: its own requests. Names as at vLLM. */
export class RemoteMetrics {
  private readonly labels: Readonly<Record<string, string>>;
  private readonly firstToken = new Histogram(LATENCY_BOUNDS);
  private readonly betweenTokens = new Histogram(LATENCY_BOUNDS);
  private readonly endToEnd = new Histogram(LATENCY_BOUNDS);
  private readonly failures = new Map<string, number>();
  private promptTokens = 0;
  private generationTokens = 0;
  private reloads = 0;

  constructor(model: string, engine: string) {
    this.labels = { model_name: model, engine };
  }

  firstTokenAfter(ms: number): void {
    this.firstToken.observe(ms / 1000);
  }

  nextTokenAfter(ms: number): void {
    this.betweenTokens.observe(ms / 1000);
  }

  finished(ms: number, promptTokens: number, completionTokens: number): void {
    this.endToEnd.observe(ms / 1000);
    this.promptTokens += promptTokens;
    this.generationTokens += completionTokens;
  }

  failed(code: string): void {
    this.failures.set(code, (this.failures.get(code) ?? 0) + 1);
  }

  reloaded(): void {
    this.reloads++;
  }

  families(running: number, runningAdapters: readonly string[]): MetricFamily[] {
    const { labels } = this;
    const family = (name: string, type: MetricFamily["type"], help: string, samples: MetricSample[]) => ({
      name,
      type,
      help,
      samples,
    });
    const one = (value: number): MetricSample[] => [{ labels, value }];
    return [
      family("vllm:num_requests_running", "gauge", "Requests sent to the remote server and not yet answered.", [
        ...one(running),
      ]),
      family(
        "vllm:prompt_tokens_total",
        "counter",
        "Prompt tokens, as the server counted them.",
        one(this.promptTokens),
      ),
      family("vllm:generation_tokens_total", "counter", "Generated tokens.", one(this.generationTokens)),
      family("vllm:time_to_first_token_seconds", "histogram", "From the request to its first token.", [
        this.firstToken.sample(labels),
      ]),
      family("vllm:inter_token_latency_seconds", "histogram", "Between two tokens of one request.", [
        this.betweenTokens.sample(labels),
      ]),
      family("vllm:e2e_request_latency_seconds", "histogram", "From the request to its last token.", [
        this.endToEnd.sample(labels),
      ]),
      family("vllm:lora_requests_info", "gauge", "Adapters of the requests in flight.", [
        {
          labels: { running_lora_adapters: runningAdapters.join(","), waiting_lora_adapters: "" },
          value: Date.now() / 1000,
        },
      ]),
      family(
        "openledger:remote_adapter_reloads_total",
        "counter",
        "Adapters loaded again after the server lost them.",
        [...one(this.reloads)],
      ),
      family(
        "openledger:remote_errors_total",
        "counter",
        "Requests that failed, by error code.",
        [...this.failures].map(([code, value]) => ({ labels: { ...labels, code }, value })),
      ),
    ];
  }
}
