import { setImmediate as turn } from "node:timers/promises";
import type { AdapterReader } from "../../../../operator/engine/adapters/adapter-reader.ts";
import { AdapterStore } from "../../../../operator/engine/adapters/adapter-store.ts";
import { readFolder } from "../../../../operator/engine/adapters/folder-state.ts";
import type { GenerateEvent, SamplingOptions, ScoreResult } from "../../../../operator/engine/engine.ts";
import type { EngineError } from "../../../../operator/engine/engine-error.ts";
import type { ModelRunner } from "../../../../operator/engine/runtime/model-runner.ts";
import { Sampler } from "../../../../operator/engine/sampling/sampler.ts";
import { samplingParameters } from "../../../../operator/engine/sampling/sampling-parameters.ts";
import type { GenerateJob, JobAdapter, ScoreJob } from "../../../../operator/engine/scheduler/job.ts";
import { Scheduler, type SchedulerOptions } from "../../../../operator/engine/scheduler/scheduler.ts";

export interface GenerateSpec {
  prompt: readonly number[];
  adapters?: readonly { id: string; weight?: number }[];
  sampling?: SamplingOptions;
  maxTokens?: number;
  stops?: readonly string[];
  stopTokens?: readonly number[];
  choices?: number;
  logprobs?: number;
  payer?: string;
}

/** What one job gave. */
export interface Outcome {
  /** Token ids by choice. */
  tokens: number[][];
  text: string[];
  events: GenerateEvent[];
  finish: (Extract<GenerateEvent, { type: "finish" }> | undefined)[];
  error?: EngineError;
}

export interface Running<T> {
  job: GenerateJob | ScoreJob;
  result: Promise<T>;
  ended: boolean;
}

/** A scheduler with its store and a clock of its own, driven step by step. */
export class Bench {
  readonly runner: ModelRunner;
  readonly store: AdapterStore;
  readonly scheduler: Scheduler;
  clock = 0;
  private wake: () => void = () => {};

  constructor(
    runner: ModelRunner,
    options: Partial<SchedulerOptions> & { memoryBytes?: number; largestBytes?: number; reader?: AdapterReader } = {},
  ) {
    this.runner = runner;
    const { vocabSize } = runner.config;
    const largestBytes = options.largestBytes ?? 10 * 1024;
    this.store = new AdapterStore({
      reader: options.reader ?? {
        read: async (folder, maxBytes = Number.POSITIVE_INFINITY) => readFolder(folder, runner.config, maxBytes),
        close: async () => {},
      },
      slots: runner.limits.slots,
      slotMemory: runner,
      maxRank: runner.limits.maxRank,
      memoryBytes: options.memoryBytes ?? 64 * largestBytes,
      largestBytes,
      onChange: () => this.wake(),
      now: () => this.clock,
    });
    const bytes = Array.from({ length: vocabSize }, (_, token) => Uint8Array.of(0x61 + (token % 26)));
    this.scheduler = new Scheduler({
      runner,
      store: this.store,
      vocabulary: { sampler: new Sampler(vocabSize), tokens: { bytes, dropFirstSpace: false } },
      maxBatch: 8,
      prefillTokens: 24,
      maxQueue: 1000,
      now: () => this.clock++,
      ...options,
    });
  }

  generate(spec: GenerateSpec): Running<Outcome> {
    const outcome: Outcome = { tokens: [], text: [], events: [], finish: [] };
    const adapters = this.claim(spec.adapters ?? []);
    const running = {} as Running<Outcome>;
    running.ended = false;
    running.result = new Promise((resolve) => {
      const end = () => {
        running.ended = true;
        resolve(outcome);
      };
      const choices = spec.choices ?? 1;
      for (let choice = 0; choice < choices; choice++) {
        outcome.tokens.push([]);
        outcome.text.push("");
      }
      running.job = {
        kind: "generate",
        prompt: Int32Array.from(spec.prompt),
        adapters,
        payer: spec.payer ?? "somebody",
        sampling: samplingParameters({ temperature: 0, ...spec.sampling }, this.runner.config.vocabSize, () => 1),
        maxTokens: spec.maxTokens ?? 16,
        stopTokens: new Set(spec.stopTokens),
        stops: spec.stops ?? [],
        choices,
        logprobs: spec.logprobs,
        grammars: [],
        emit: (event) => {
          outcome.events.push(event);
          if (event.type === "token") {
            outcome.tokens[event.choice].push(event.tokenId!);
            outcome.text[event.choice] += event.text;
          }
          if (event.type === "finish") {
            outcome.text[event.choice] += event.text;
            outcome.finish[event.choice] = event;
          }
          if (event.type === "done") end();
        },
        fail: (error) => {
          outcome.error = error;
          end();
        },
      };
    });
    this.submit(running.job, adapters);
    return running;
  }

  score(
    contexts: readonly (readonly number[])[],
    continuation: readonly number[],
    adapters: readonly { id: string; weight?: number }[] = [],
  ): Running<ScoreResult | EngineError> {
    const claimed = this.claim(adapters);
    const running = {} as Running<ScoreResult | EngineError>;
    running.ended = false;
    running.result = new Promise((resolve) => {
      const end = (result: ScoreResult | EngineError) => {
        running.ended = true;
        resolve(result);
      };
      running.job = {
        kind: "score",
        contexts: contexts.map((context) => Int32Array.from(context)),
        continuation: Int32Array.from(continuation),
        adapters: claimed,
        payer: "somebody",
        done: end,
        fail: end,
      };
    });
    this.submit(running.job, claimed);
    return running;
  }

  /** Steps until nothing is left, waiting for adapters where only they are missing. */
  async run(until: () => boolean = () => this.scheduler.idle): Promise<void> {
    while (!until()) {
      const changed = new Promise<void>((resolve) => {
        this.wake = resolve;
      });
      if ((await this.scheduler.step()) === "idle" && !until()) await changed;
      // Adapters come in on the event loop, between steps.
      await turn();
    }
  }

  private claim(adapters: readonly { id: string; weight?: number }[]): JobAdapter[] {
    return adapters.map(({ id, weight = 1 }) => ({ ticket: this.store.begin(id), weight }));
  }

  private submit(job: GenerateJob | ScoreJob, adapters: JobAdapter[]): void {
    try {
      this.scheduler.submit(job);
    } catch (error) {
      for (const { ticket } of adapters) this.store.end(ticket);
      throw error;
    }
  }
}
