import { readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { setTimeout as pause, setImmediate as turn } from "node:timers/promises";
import { parentPort, workerData } from "node:worker_threads";
import { ThreadAdapterReader } from "../adapters/adapter-reader.ts";
import { AdapterStore } from "../adapters/adapter-store.ts";
import type { EngineInfo } from "../engine.ts";
import { EngineError } from "../engine-error.ts";
import { readModelConfig } from "../model/config.ts";
import { readTokenizer } from "../model/tokenizer.ts";
import { cacheFolder } from "../runtime/compiled-model.ts";
import { createModelRunner, type GraphModelRunner } from "../runtime/graph-model-runner.ts";
import { GrammarService } from "../sampling/grammar-service.ts";
import { Sampler } from "../sampling/sampler.ts";
import { tokenBytes } from "../sampling/token-bytes.ts";
import type { Job } from "../scheduler/job.ts";
import { Scheduler } from "../scheduler/scheduler.ts";
import { engineMetrics } from "./engine-metrics.ts";
import { type Answer, type Call, ENGINE_KEY, type ThreadData, type ToThread } from "./messages.ts";
import { RequestIntake } from "./request-intake.ts";
import { describeSettings, type ResolvedSettings, resolveSettings, thisMachine } from "./settings.ts";

const port = parentPort!;
const outbox: Answer[] = [];
let wake: () => void = () => {};
let flushing = false;
let isClosing = false;
/** The graph that is being loaded ahead of its use. */
let warming: Promise<unknown> = Promise.resolve();

const { settings: given, adapters } = workerData as ThreadData;
try {
  const engine = await start();
  for (const source of adapters) engine.store.register(source);
  outbox.push({ kind: "ready", info: engine.info });
  flush();
  await serve(engine);
} catch (error) {
  answerError(ENGINE_KEY, error);
  flush();
}

interface Parts {
  readonly info: EngineInfo;
  readonly settings: ResolvedSettings;
  readonly runner: GraphModelRunner;
  readonly store: AdapterStore;
  readonly grammars: GrammarService;
  readonly scheduler: Scheduler;
  readonly intake: RequestIntake;
}

async function start(): Promise<Parts> {
  const config = readModelConfig(given.model);
  const settings = resolveSettings(given, config, thisMachine());
  const tokenizer = readTokenizer(given.model, config.vocabSize);
  const tokens = tokenBytes(JSON.parse(readFileSync(join(given.model, "tokenizer.json"), "utf8")), config.vocabSize);
  const runner = await createModelRunner(settings);
  const onChange = () => wake();
  const now = () => performance.now();
  const store = new AdapterStore({
    reader: new ThreadAdapterReader(config, join(cacheFolder(given.cache), "adapter-hashes")),
    slots: settings.slots,
    slotMemory: runner,
    maxRank: settings.maxRank,
    memoryBytes: settings.adapterBytes,
    largestBytes: settings.largestAdapterBytes,
    onChange,
    now,
  });
  const { vocabSize, eosTokenIds } = config;
  const grammars = new GrammarService({ vocabSize, tokens, stopTokens: eosTokenIds, onChange });
  const vocabulary = { sampler: new Sampler(vocabSize), tokens };
  const scheduler = new Scheduler({ ...settings, runner, store, vocabulary, now });
  const { maxSequenceTokens } = scheduler;
  const intake = new RequestIntake({ config, tokenizer, store, grammars, maxSequenceTokens });
  const info: EngineInfo = {
    kind: "embedded",
    model: basename(given.model),
    modelHash: runner.modelHash,
    maxContextTokens: maxSequenceTokens,
    vocabSize,
    exact: settings.exact,
    ...(settings.sparse && { sparse: settings.sparse }),
    quantisation: settings.quantisation,
    supports: {
      scoring: true,
      logprobs: true,
      jsonSchema: true,
      blends: store.maxBlend > 1,
      loadAdapters: true,
      chat: tokenizer.hasTemplate,
    },
    settings: { ...describeSettings(settings), weightBytes: runner.memory.weights, memoryPlace: runner.place },
  };
  return { info, settings, runner, store, grammars, scheduler, intake };
}

/** Steps while there is work; between steps the event loop brings requests, cancellations and adapters. */
async function serve(engine: Parts): Promise<never> {
  const jobs = new Map<number, Job>();
  port.on("message", (message: ToThread) => {
    receive(engine, jobs, message);
    wake();
  });
  for (;;) {
    const woken = new Promise<void>((resolve) => {
      wake = resolve;
    });
    const result = await stepOnce(engine.scheduler);
    flush();
    if (result === "idle" && !(await warm(engine))) await woken;
    else if (result === "blocked") await pause(1);
    await turn();
  }
}

/** Uses a moment in which nobody has asked for anything. @returns whether there may be more to do */
async function warm({ settings, scheduler, runner, store }: Parts): Promise<boolean> {
  if (!settings.warm || !scheduler.idle || isClosing) return false;
  try {
    const loading = runner.warm(store.counts.registered > 0);
    warming = loading;
    return await loading;
  } catch {
    // Whoever needs that graph is told why it does not load.
    return false;
  }
}

async function stepOnce(scheduler: Scheduler): Promise<"computed" | "idle" | "blocked"> {
  try {
    return await scheduler.step();
  } catch (error) {
    // A mistake of ours: nothing about the requests in flight is certain any more, but new ones start clean.
    scheduler.cancelAll(EngineError.from(error));
    return "computed";
  }
}

function receive(engine: Parts, jobs: Map<number, Job>, message: ToThread): void {
  const { key } = message;
  if (message.kind === "cancel") {
    const job = jobs.get(key);
    if (job !== undefined) engine.scheduler.cancel(job, new EngineError("cancelled", "the request was cancelled"));
    return;
  }
  const fail = (error: unknown) => {
    jobs.delete(key);
    answerError(key, error);
    flushSoon();
  };
  const value = (result: unknown) => {
    jobs.delete(key);
    outbox.push({ kind: "value", key, value: result });
    flushSoon();
  };
  try {
    if (message.kind === "generate") {
      const job = engine.intake.generate(message.request, {
        emit: (event) => {
          if (event.type === "done") jobs.delete(key);
          outbox.push({ kind: "event", key, event });
        },
        fail,
      });
      submit(engine, jobs, key, job);
    } else if (message.call.method === "score") {
      submit(engine, jobs, key, engine.intake.score(message.call.request, { done: value, fail }));
    } else call(engine, message.call).then(value, fail);
  } catch (error) {
    fail(error);
  }
}

function submit({ scheduler, intake }: Parts, jobs: Map<number, Job>, key: number, job: Job): void {
  try {
    scheduler.submit(job);
  } catch (error) {
    intake.release(job);
    throw error;
  }
  jobs.set(key, job);
}

async function call(engine: Parts, request: Exclude<Call, { method: "score" }>): Promise<unknown> {
  const { store, scheduler } = engine;
  switch (request.method) {
    case "loadAdapter":
      return store.load(request.source);
    case "registerAdapters":
      for (const source of request.sources) store.register(source);
      return undefined;
    case "prefetchAdapter":
      return store.prefetch(request.id);
    case "pinAdapter":
      return store.pin(request.id, request.pinned);
    case "unloadAdapter":
      return store.unload(request.id);
    case "adapters":
      return store.list();
    case "metrics":
      return engineMetrics(scheduler, store, engine.runner, engine.settings);
    case "drain":
      return scheduler.drain();
    case "close":
      // The thread is ended after this, and must not be loading anything then.
      isClosing = true;
      scheduler.cancelAll(new EngineError("closed", "the engine was closed"));
      await Promise.allSettled([warming]);
      await Promise.all([store.close(), engine.grammars.close()]);
      return engine.runner.close();
  }
}

function answerError(key: number, error: unknown): void {
  const { code, message, details } = EngineError.from(error);
  outbox.push({ kind: "error", key, error: { code, message, details } });
}

/** What is answered between steps must not wait for the end of the next one. */
function flushSoon(): void {
  if (flushing) return;
  flushing = true;
  queueMicrotask(() => {
    flushing = false;
    flush();
  });
}

function flush(): void {
  if (outbox.length > 0) port.postMessage(outbox.splice(0));
}
