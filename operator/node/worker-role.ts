import { join } from "node:path";
import { answerBytes } from "../api/answer-bytes.ts";
import { askedJobOf } from "../api/asked-job.ts";
import type { Engine } from "../engine/engine.ts";
import { connectRemoteEngine, isRemoteEngineAddress } from "../engine/remote/connect.ts";
import { startEmbeddedEngine } from "../engine/worker/embedded-engine.ts";
import { JobWorker } from "../queue/job-worker.ts";
import { JobServer } from "../serving/job-server.ts";
import type { Sequencer } from "../settlement/sequencer.ts";
import { ConfigError } from "./config-error.ts";
import type { NodeBase } from "./node-base.ts";

/** What serves jobs in this process. */
export interface WorkerRole {
  engine: Engine;
  server: JobServer;
  worker: JobWorker;
}

/** Starts the engine, then takes jobs. The worker ends what it has begun before the engine is closed. */
export async function startWorking(
  base: NodeBase,
  sequencer: Sequencer,
  queue: { redis: string; prefix: string },
): Promise<WorkerRole> {
  const { config, mirror, content, say, atClose, parts } = base;
  const engine = await openEngine(base);
  atClose(() => engine.close());
  const { concurrency, passages, influenceThreads, tools } = config.worker;
  const model = config.engine!.model;
  const server = await JobServer.start({
    ...{ engine, mirror, fetcher: content, influenceThreads },
    ...(!isRemoteEngineAddress(model) && { model }),
    ...(passages !== undefined && { limits: { passages } }),
    directory: join(config.data, "serving"),
    tools: { ...tools, allowedCommands: tools.allowedCommands as `0x${string}`[] },
  });
  atClose(() => server.close());
  const worker = new JobWorker({
    ...{ ...queue, sequencer, serve: server.serve, concurrency, warn: say },
    decode: askedJobOf,
    encode: answerBytes,
  });
  atClose(async () => {
    const patience = setTimeout(() => {
      say("Jobs are left to other workers: the time to end them is over.");
      void worker.close({ force: true });
    }, config.shutdownSeconds * 1_000);
    await worker.drain().finally(() => clearTimeout(patience));
    await worker.close();
  });
  await worker.ready();
  parts.push({ metrics: async () => worker.metrics() }, { metrics: () => engine.metrics() });
  return { engine, server, worker };
}

async function openEngine({ config, say }: NodeBase): Promise<Engine> {
  if (!config.engine) throw new ConfigError("the configuration", ["engine.model: is missing, and a worker needs it"]);
  const { model, memoryMiB, ...settings } = config.engine;
  if (isRemoteEngineAddress(model)) {
    if (settings.sparse) {
      throw new ConfigError("the configuration", [
        `engine.sparse: is for a model folder; ${model} attends as it was started`,
      ]);
    }
    return connectRemoteEngine(model);
  }
  say(`Starting the engine with ${model} ...`);
  const memory = memoryMiB === undefined ? {} : { memoryBytes: memoryMiB * 2 ** 20 };
  const cache = join(config.data, "graphs");
  return startEmbeddedEngine({ ...settings, ...memory, model, cache, exact: true });
}
