import { join } from "node:path";
import type { ContentFetcher } from "../chain/content.ts";
import type { RegistryMirror } from "../chain/mirror.ts";
import type { AdapterUse, Engine } from "../engine/engine.ts";
import { EngineError } from "../engine/engine-error.ts";
import { MAX_LINEAGE } from "../protocol/bounds.ts";
import { type Hex, toHex } from "../protocol/bytes.ts";
import { type Composition, type Pinned, type PinnedAdapter, TRAINING_MEASURE } from "../protocol/composition.ts";
import type { RegisteredTool } from "../tools/tool-clients.ts";
import { ToolError } from "../tools/tool-error.ts";
import { MAX_MANIFEST_BYTES, readToolManifest } from "../tools/tool-manifest.ts";
import { contentFailure, DataNetShelf, type OpenDataNet } from "./data-net-shelf.ts";
import { readTemplate, type TemplatePiece } from "./prompt-template.ts";
import { Remembered } from "./remembered.ts";
import { ServingError } from "./served-job.ts";

/** Bytes of a prompt's content at most. */
const MAX_PROMPT_BYTES = 256 * 1024;

interface AgentShelfOptions {
  /** Absent where nothing is generated. */
  readonly engine?: Engine;
  readonly mirror: RegistryMirror;
  readonly fetcher: ContentFetcher;
  /** Folder for the indexes of DataNets. */
  readonly directory: string;
}

/** A DataNet whose text is searched for verbatim spans, and what lets it earn. */
export interface SearchedNet extends OpenDataNet {
  /** Index in the composition; undefined for one that is only in an adapter's lineage. */
  readonly pinned: number | undefined;
  /** `via` of the training pool; undefined where it does not feed that. */
  readonly training: number | undefined;
}

/** An agent version with all that a job needs of it, held until it is released. */
export interface ReadyAgent {
  readonly agent: number;
  readonly version: number;
  readonly composition: Composition;
  /** In the composition's order. */
  readonly adapters: readonly AdapterUse[];
  readonly template: { readonly id: number; readonly pieces: readonly TemplatePiece[] } | undefined;
  readonly tools: readonly (RegisteredTool & Pinned)[];
  readonly nets: readonly SearchedNet[];
  release(): void;
}

/** Makes agent versions ready. What several agents share is fetched, built and opened once. */
export class AgentShelf {
  readonly dataNets: DataNetShelf;
  readonly #options: AgentShelfOptions;
  readonly #adapters = new Remembered<AdapterUse["id"]>();
  readonly #templates = new Remembered<readonly TemplatePiece[]>();
  readonly #tools = new Remembered<RegisteredTool & Pinned>();

  constructor(options: AgentShelfOptions) {
    this.#options = options;
    this.dataNets = new DataNetShelf({ ...options, directory: join(options.directory, "indexes") });
  }

  /** @throws {ServingError} `agentUnavailable`, `contentUnavailable` */
  async take(agent: number, version: number): Promise<ReadyAgent> {
    const composition = this.#options.mirror.composition(agent, version);
    if (!composition) throw new ServingError("agentUnavailable", `Agent ${agent} has no version ${version} here.`);
    const { prompt } = composition;
    // The small things first: what is certain to fail costs no ingest.
    const [adapters, pieces, tools] = await Promise.all([
      this.adapters(composition),
      prompt && this.template(prompt),
      Promise.all(composition.tools.map((tool) => this.#tool(tool))),
    ]);
    const nets = await this.#nets(composition);
    return {
      ...{ agent, version, composition, adapters, tools, nets },
      template: prompt && pieces ? { id: prompt.id, pieces } : undefined,
      release: () => {
        for (const net of nets) net.release();
      },
    };
  }

  /** The adapters of an agent version, known to the engine. @throws {ServingError} */
  async adapters(composition: Composition): Promise<AdapterUse[]> {
    const { engine } = this.#options;
    if (!engine) throw new ServingError("agentUnavailable", "There is no engine here.");
    await checkModel(composition, engine);
    return Promise.all(composition.adapters.map((adapter) => this.#adapter(adapter, composition, engine)));
  }

  /** For an engine that has forgotten adapters, as a remote server does when it starts anew. */
  forgetAdapters(adapters: readonly AdapterUse[]): void {
    for (const { id } of adapters) this.#adapters.forget(id);
  }

  close(): void {
    this.dataNets.close();
  }

  async #adapter(pinned: PinnedAdapter, composition: Composition, engine: Engine): Promise<AdapterUse> {
    const { id, version, scale } = pinned;
    const name = adapterName(pinned);
    await this.#adapters.get(name, async () => {
      const { mirror, fetcher } = this.#options;
      const entry = mirror.adapterVersion(id, version);
      const content = mirror.contentOf(id, version);
      if (!entry || !content) throw new ServingError("agentUnavailable", `Adapter ${id} has no version ${version}.`);
      if (entry.baseModel.toLowerCase() !== toHex(composition.baseModel)) {
        throw new ServingError("agentUnavailable", `Adapter ${id} is for the base model ${entry.baseModel}.`);
      }
      try {
        const path = await fetcher.adapter(entry.weightsHash, [content.uri]);
        await engine.loadAdapter({ id: name, path, expectedHash: entry.weightsHash.slice(2) });
      } catch (error) {
        if (error instanceof EngineError && (error.code === "adapter_failed" || error.code === "invalid_request")) {
          throw new ServingError("agentUnavailable", `Adapter ${id} cannot be used: ${error.message}`, {
            cause: error,
          });
        }
        throw contentFailure(error, `adapter ${id}`);
      }
      return name;
    });
    return { id: name, weight: scale / 1e6 };
  }

  /** What a registered prompt says. @throws {ServingError} */
  template({ id, version }: Pinned): Promise<readonly TemplatePiece[]> {
    return this.#templates.get(`${id}@${version}`, async () => {
      const bytes = await this.#content(id, version, "prompt", MAX_PROMPT_BYTES);
      try {
        return readTemplate(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
      } catch (error) {
        throw new ServingError("agentUnavailable", `The content of prompt ${id} is no text.`, { cause: error });
      }
    });
  }

  #tool({ id, version }: Pinned): Promise<RegisteredTool & Pinned> {
    return this.#tools.get(`${id}@${version}`, async () => {
      const { mirror } = this.#options;
      const bytes = await this.#content(id, version, "tool", MAX_MANIFEST_BYTES);
      const endpoint = mirror.toolEndpoint(id, version);
      const hash = mirror.contentOf(id, version)?.contentHash as Hex;
      if (endpoint === undefined) throw new ServingError("agentUnavailable", `Tool ${id} has no version ${version}.`);
      try {
        return { id, version, manifest: readToolManifest(bytes), hash, endpoint };
      } catch (error) {
        if (!(error instanceof ToolError)) throw error;
        throw new ServingError("agentUnavailable", `Tool ${id}: ${error.message}`, { cause: error });
      }
    });
  }

  async #content(id: number, version: number, kind: "prompt" | "tool", maxBytes: number): Promise<Uint8Array> {
    const { mirror, fetcher } = this.#options;
    const content = mirror.contentOf(id, version);
    if (content?.kind !== kind) {
      throw new ServingError("agentUnavailable", `There is no version ${version} of a ${kind} ${id}.`);
    }
    try {
      return await fetcher.bytes(content.contentHash, [content.uri], { maxBytes });
    } catch (error) {
      throw contentFailure(error, `${kind} ${id}`);
    }
  }

  async #nets(composition: Composition): Promise<SearchedNet[]> {
    const wanted = searchedNets(composition, this.#options.mirror);
    const taken = await Promise.allSettled(wanted.map(({ net }) => this.dataNets.take(net)));
    const failed = taken.find((result) => result.status === "rejected");
    if (failed) {
      for (const result of taken) if (result.status === "fulfilled") result.value?.release();
      throw failed.reason;
    }
    return taken.flatMap((result, i) => {
      const open = (result as PromiseFulfilledResult<OpenDataNet | undefined>).value;
      const { pinned, training } = wanted[i];
      return open ? [{ ...open, pinned, training }] : [];
    });
  }
}

async function checkModel({ baseModel }: Composition, engine: Engine): Promise<void> {
  const { model, modelHash } = await engine.info();
  // A remote server does not show its files: whoever configured it answers for the model.
  if (modelHash === undefined || modelHash === toHex(baseModel).slice(2)) return;
  throw new ServingError(
    "agentUnavailable",
    `The agent wants the base model ${toHex(baseModel)}, this worker has ${model}, 0x${modelHash}.`,
  );
}

/** Name under which an engine knows a version of an adapter. */
export function adapterName({ id, version }: Pinned): string {
  return `adapter-${id}-v${version}`;
}

/**
 * The DataNets that an agent version's answers are searched for: those that it pins and, where verbatim text feeds the
 * training pool, those of its adapters' lineage. A DataNet is searched in one version: the pinned one where there is one.
 */
export function searchedNets(composition: Composition, mirror: Pick<RegistryMirror, "lineage">) {
  const wanted: { net: Pinned; pinned: number | undefined; training: number | undefined }[] = composition.dataNets.map(
    (net, pinned) => ({ net, pinned, training: undefined }),
  );
  if (composition.trainingMeasure !== TRAINING_MEASURE.verbatim) return wanted;
  for (const { via, dataNet, version } of lineageOf(composition, mirror)) {
    const known = wanted.find(({ net }) => net.id === dataNet);
    if (!known) wanted.push({ net: { id: dataNet, version }, pinned: undefined, training: via });
    else if (known.net.version === version) known.training ??= via;
  }
  return wanted;
}

/** What an agent version's adapters were trained on, with the `via` under which it earns. */
export function lineageOf(composition: Composition, mirror: Pick<RegistryMirror, "lineage">) {
  return composition.adapters.flatMap(({ id, version }, adapter) =>
    Array.from({ length: MAX_LINEAGE }, (_, i) => ({ entry: mirror.lineage(id, version, i), i })).flatMap(
      ({ entry, i }) => (entry && entry.dataNet !== 0 ? [{ ...entry, adapter, via: adapter * MAX_LINEAGE + i }] : []),
    ),
  );
}
