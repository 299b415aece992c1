import type { AdapterUse, Engine } from "../../engine/engine.ts";
import { EngineError } from "../../engine/engine-error.ts";
import { readAdapter } from "../../engine/model/adapter-folder.ts";
import { readModelConfig } from "../../engine/model/config.ts";
import { connectRemoteEngine, isRemoteEngineAddress } from "../../engine/remote/connect.ts";
import { startEmbeddedEngine } from "../../engine/worker/embedded-engine.ts";
import type { EngineSettings } from "../../engine/worker/settings.ts";
import type { SparseSetting } from "../../engine/worker/sparse-setting.ts";
import { adapterFolder, modelFolder } from "../../hub/locate.ts";
import { progressLine } from "../progress-line.ts";

/** Options that every engine command has. */
export interface EngineOptions {
  readonly model: string;
  readonly adapter: readonly { readonly path: string; readonly weight: number }[];
  readonly quant?: "f32" | "q8" | "q4";
  readonly exact: boolean;
  readonly sparse?: SparseSetting | undefined;
  readonly threads?: number;
  readonly memory?: number;
  readonly provider?: "cpu" | "webgpu" | "cuda";
  readonly json: boolean;
}

export interface OpenedEngine {
  readonly engine: Engine;
  readonly adapters: readonly AdapterUse[];
}

/** The options of an embedded engine with absolute folders; what is named on a hub is fetched. */
export async function located(options: EngineOptions, signal?: AbortSignal): Promise<EngineOptions> {
  const fetching = { say: progressLine(), signal };
  const model = await modelFolder(options.model, fetching);
  const adapter = [];
  for (const { path, weight } of options.adapter) adapter.push({ path: await adapterFolder(path, fetching), weight });
  return { ...options, model, adapter };
}

/**
 * Settings of an engine that serves one request: no more slots than adapters, and slots as large as those are.
 *
 * @param options As {@link located} gives them.
 */
export function settingsFor(options: EngineOptions): EngineSettings {
  const { model, adapter, quant, exact, sparse, threads, memory, provider } = options;
  const ranks = adapter.map(({ path }) => adapterRank(path, model));
  return {
    ...{ model, exact, sparse, threads, provider },
    ...(quant !== undefined && { quantisation: quant }),
    ...(memory !== undefined && { memoryBytes: memory * 2 ** 20 }),
    slots: Math.max(1, adapter.length),
    maxRank: Math.max(1, ...ranks),
    maxBatch: 4,
    warm: false,
  };
}

/**
 * Starts the embedded engine or connects to a server, and makes the adapters known to it.
 *
 * @throws EngineError `invalid_request` where a server is asked for what only the embedded engine does
 */
export async function openEngine(given: EngineOptions, signal?: AbortSignal): Promise<OpenedEngine> {
  const remote = isRemoteEngineAddress(given.model);
  if (remote && given.sparse) {
    throw new EngineError(
      "invalid_request",
      `--sparse is for a model folder; ${given.model} attends as it was started`,
    );
  }
  const options = remote ? given : await located(given, signal);
  const engine = remote ? await connectRemoteEngine(given.model) : await startEmbeddedEngine(settingsFor(options));
  try {
    const adapters: AdapterUse[] = [];
    for (const [i, { path, weight }] of options.adapter.entries()) {
      // A server may know the name already, and have no folder of ours.
      const known = remote && (await engine.adapters()).some((info) => info.id === path);
      const id = remote ? path : `adapter ${i + 1}`;
      if (!known) await engine.loadAdapter({ id, path: await adapterFolder(path, { say: progressLine(), signal }) });
      adapters.push({ id, weight });
    }
    return { engine, adapters };
  } catch (error) {
    await engine.close();
    throw error;
  }
}

/** Says on the error stream what was chosen, so that standard output holds the answer alone. */
export async function printSettings(engine: Engine): Promise<void> {
  const { model, settings } = await engine.info();
  const parts = Object.entries(settings).flatMap(([name, value]) =>
    name === "model" ? [] : [`${name} ${name.endsWith("Bytes") ? mebibytes(Number(value)) : value}`],
  );
  console.error(`${model}: ${parts.join(", ")}`);
}

export function mebibytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(bytes < 10 * 2 ** 20 ? 1 : 0)} MiB`;
}

function adapterRank(path: string, model: string): number {
  const config = readModelConfig(model);
  try {
    return readAdapter(path, config).rank;
  } catch (error) {
    throw EngineError.from(error, "adapter_failed");
  }
}
