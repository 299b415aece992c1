import type { AdapterStore } from "../adapters/adapter-store.ts";
import type { Histogram, MetricFamily, MetricSample } from "../metrics.ts";
import type { GraphModelRunner } from "../runtime/graph-model-runner.ts";
import type { Scheduler } from "../scheduler/scheduler.ts";
import type { ResolvedSettings } from "./settings.ts";

/**
 * Metrics of a running engine. Names that dashboards for vLLM know are kept; what only this engine has is `openledger:`.
 */
export function engineMetrics(
  scheduler: Scheduler,
  store: AdapterStore,
  runner: GraphModelRunner,
  settings: ResolvedSettings,
): MetricFamily[] {
  return [
    ...requestMetrics(scheduler, settings),
    ...memoryMetrics(scheduler),
    ...attentionMetrics(scheduler, runner),
    ...residencyMetrics(runner),
    ...adapterMetrics(store, settings),
    gauge(
      "openledger:graphs_loaded",
      "Graphs that need not be loaded by the step that uses them.",
      runner.graphsLoaded,
    ),
    family(
      "openledger:graph_steps_total",
      "counter",
      "Steps by how rows attended (decode, ragged, flash) and used adapters (none, aligned, single, blend).",
      runner.graphSteps.map(({ attention, adapters, steps }) => ({ labels: { attention, adapters }, value: steps })),
    ),
  ];
}

function requestMetrics(scheduler: Scheduler, settings: ResolvedSettings): MetricFamily[] {
  const { statistics } = scheduler;
  const { running, waiting, runningAdapters, waitingAdapters } = scheduler.gauges();
  const lora = {
    max_lora: String(settings.slots),
    running_lora_adapters: runningAdapters.join(","),
    waiting_lora_adapters: waitingAdapters.join(","),
  };
  return [
    gauge("vllm:num_requests_running", "Sequences in the batch.", running),
    gauge("vllm:num_requests_waiting", "Sequences that wait to be admitted.", waiting),
    counter("vllm:prompt_tokens_total", "Input tokens of admitted requests.", statistics.promptTokens),
    counter("vllm:generation_tokens_total", "Tokens generated.", statistics.generationTokens),
    histogram("vllm:time_to_first_token_seconds", "From submission to the first token.", statistics.firstToken),
    histogram("vllm:inter_token_latency_seconds", "Between two tokens of a request.", statistics.interToken),
    histogram("vllm:e2e_request_latency_seconds", "From submission to the end.", statistics.endToEnd),
    histogram("vllm:request_queue_time_seconds", "From submission to admission.", statistics.queueTime),
    family("vllm:lora_requests_info", "gauge", "Adapters of running and waiting requests.", [
      { labels: lora, value: Date.now() / 1000 },
    ]),
    family(
      "openledger:requests_total",
      "counter",
      "Requests ended, by how.",
      [...statistics.ended].map(([reason, value]) => ({ labels: { reason }, value })),
    ),
    counter("openledger:requests_refused_total", "Requests refused because the queue was full.", statistics.refused),
    histogram("openledger:prefill_step_seconds", "Steps that compute inputs.", statistics.prefillStep),
    histogram("openledger:decode_step_seconds", "Steps that compute one token per sequence.", statistics.decodeStep),
  ];
}

function memoryMetrics(scheduler: Scheduler): MetricFamily[] {
  const { statistics } = scheduler;
  const { blocks } = scheduler.gauges();
  return [
    gauge("vllm:kv_cache_usage_perc", "Blocks in use, 1 is all.", blocks.total === 0 ? 0 : blocks.used / blocks.total),
    counter("vllm:num_preemptions_total", "Sequences that lost their memory to older ones.", statistics.preemptions),
    counter("vllm:prefix_cache_hits_total", "Input tokens found in the cache.", statistics.prefixHits),
    counter("vllm:prefix_cache_queries_total", "Input tokens looked for in the cache.", statistics.prefixQueries),
    gauge("openledger:kv_blocks", "Blocks in the pool.", blocks.total),
    gauge("openledger:kv_blocks_used", "Blocks that sequences hold.", blocks.used),
    gauge("openledger:kv_blocks_shared", "Blocks that more than one sequence holds.", blocks.shared),
    gauge("openledger:kv_blocks_idle", "Blocks kept for their contents alone.", blocks.idle),
    counter("openledger:kv_blocks_evicted_total", "Idle blocks given to others.", blocks.evicted),
    gauge("openledger:resident_memory_bytes", "Resident memory of the process.", process.memoryUsage.rss()),
  ];
}

/** What of the past was read by steps, in blocks; all of it unless a pattern leaves some out. */
function attentionMetrics({ statistics }: Scheduler, { blocksAttended }: GraphModelRunner): MetricFamily[] {
  const { attended, leftOut } = blocksAttended;
  return [
    counter("openledger:kv_blocks_attended_total", "Blocks of the past that rows of steps read.", attended),
    counter("openledger:kv_blocks_left_out_total", "Blocks of the past that the pattern left out.", leftOut),
    counter(
      "openledger:kv_blocks_given_back_total",
      "Blocks that running sequences gave back because nothing to come attends to them.",
      statistics.blocksGivenBack,
    ),
  ];
}

/** What the runner holds and where, and what crosses between host and device where that is not the same memory. */
function residencyMetrics({ place, memory, traffic }: GraphModelRunner): MetricFamily[] {
  const held = Object.entries(memory).map(([what, value]) => ({ labels: { what, place }, value }));
  const families = [
    family("openledger:runner_memory_bytes", "gauge", "Weights, keys and values, and slots; cpu is host memory.", held),
  ];
  if (traffic) {
    families.push(
      counter("openledger:device_sent_bytes_total", "Bytes that runs read out of host memory.", traffic.uploaded),
      counter("openledger:device_fetched_bytes_total", "Bytes of outputs that were fetched.", traffic.fetched),
    );
  }
  return families;
}

function adapterMetrics(store: AdapterStore, settings: ResolvedSettings): MetricFamily[] {
  const { counts } = store;
  return [
    gauge("openledger:adapters_registered", "Adapters known by name.", counts.registered),
    gauge("openledger:adapters_in_memory", "Adapters in host memory.", counts.host.adapters),
    gauge("openledger:adapter_memory_bytes", "Host memory that adapters take.", counts.host.bytes),
    gauge("openledger:adapter_memory_limit_bytes", "Host memory that adapters may take.", settings.adapterBytes),
    counter("openledger:adapter_evictions_total", "Adapters pushed out of host memory.", counts.host.evicted),
    gauge("openledger:adapter_slots_active", "Slots in use.", counts.slotsActive),
    counter("openledger:adapter_slot_hits_total", "Uses that found their adapter in a slot.", counts.slotHits),
    counter("openledger:adapter_slot_loads_total", "Slots filled from host memory.", counts.slotLoads),
    counter("openledger:adapter_failures_total", "Adapters that could not be read or served.", counts.failures),
    histogram("openledger:adapter_load_seconds", "From files to host memory.", counts.loadSeconds),
  ];
}

function family(name: string, type: MetricFamily["type"], help: string, samples: MetricSample[]): MetricFamily {
  return { name, type, help, samples };
}

function gauge(name: string, help: string, value: number): MetricFamily {
  return family(name, "gauge", help, [{ labels: {}, value }]);
}

function counter(name: string, help: string, value: number): MetricFamily {
  return family(name, "counter", help, [{ labels: {}, value }]);
}

function histogram(name: string, help: string, values: Histogram): MetricFamily {
  return family(name, "histogram", help, [values.sample()]);
}
