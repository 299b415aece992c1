import { attribute } from "../attribution/attribute.ts";
import type { TraceInputs } from "../attribution/trace.ts";
import type { ContentFetcher } from "../chain/content.ts";
import type { RegistryMirror } from "../chain/mirror.ts";
import type { Engine, EngineInfo } from "../engine/engine.ts";
import { EngineError } from "../engine/engine-error.ts";
import { toHex } from "../protocol/bytes.ts";
import { CONTEXT_MEASURE, TRAINING_MEASURE } from "../protocol/composition.ts";
import type { Passage } from "../retrieval/data-net-index.ts";
import { search } from "../retrieval/search.ts";
import { ToolClients, type ToolSettings } from "../tools/tool-clients.ts";
import { AgentShelf, type ReadyAgent } from "./agent-shelf.ts";
import { answerInRounds, asServingError, type GeneratedAnswer } from "./answer-rounds.ts";
import { questionOf, type RetrievedPassage, wholePrompt } from "./compose-prompt.ts";
import { DEFAULT_PROMPT_LIMITS, fitPrompt, type PromptLimits } from "./fit-prompt.ts";
import { isSilence, type ModelText, readModelText, unseenModelText } from "./model-text.ts";
import { type AskedJob, type ServedAnswer, type ServeJob, ServingError } from "./served-job.ts";
import { ToolUse } from "./tool-use.ts";
import { TrainingInfluence } from "./training-influence.ts";

/** Sources up to which each is left out in turn: more would be measured by 64 random masks. */
const MOST_SOURCES = 8;

export interface JobServerOptions {
  /** In exact mode, if it is the embedded one. */
  readonly engine: Engine;
  readonly mirror: RegistryMirror;
  readonly fetcher: ContentFetcher;
  /** Folder of the base model; absent where a remote engine keeps it. Tokens are estimated then. */
  readonly model?: string;
  /** Folder for what is built of registered content; it may be deleted. `sketches/` in it is the operator's own. */
  readonly directory: string;
  readonly tools?: ToolSettings;
  readonly limits?: Partial<PromptLimits>;
  /** Threads for the gradients of influence. Default 1. */
  readonly influenceThreads?: number;
}

/** Serves the jobs of every agent: finds passages, builds the prompt, generates, and measures who helped. */
export class JobServer {
  readonly shelf: AgentShelf;
  readonly model: ModelText;
  readonly #options: JobServerOptions;
  readonly #limits: PromptLimits;
  readonly #info: EngineInfo;
  readonly #tools: ToolClients;
  readonly #influence: TrainingInfluence | undefined;

  /** @throws {Error} When the engine cannot measure, or would not give the same numbers again. */
  static async start(options: JobServerOptions): Promise<JobServer> {
    const info = await options.engine.info();
    if (!info.supports.scoring) throw new Error(`The engine ${info.kind} cannot score: nothing could be attributed.`);
    if (info.kind === "embedded" && !info.exact) {
      throw new Error("The engine must run in exact mode: only then does everybody measure the same.");
    }
    return new JobServer(options, info);
  }

  private constructor(options: JobServerOptions, info: EngineInfo) {
    const { model, directory, mirror, influenceThreads: threads = 1 } = options;
    this.#options = options;
    this.#info = info;
    this.#limits = { ...DEFAULT_PROMPT_LIMITS, ...options.limits };
    this.shelf = new AgentShelf(options);
    this.model = model === undefined ? unseenModelText() : readModelText(model);
    this.#tools = new ToolClients(options.tools);
    this.#influence = model === undefined ? undefined : new TrainingInfluence({ mirror, model, threads, directory });
  }

  /** Makes an agent version ready ahead of its jobs. @throws {ServingError} */
  async prepare(agent: number, version: number): Promise<void> {
    const ready = await this.shelf.take(agent, version);
    ready.release();
  }

  /** The passages of an agent's DataNets that fit a query best. @throws {ServingError} */
  async search(agent: number, version: number, query: string, limit?: number): Promise<Passage[]> {
    const ready = await this.shelf.take(agent, version);
    try {
      return (await this.#retrieve(ready, query, limit)).map(({ passage }) => passage);
    } finally {
      ready.release();
    }
  }

  /**
   * The passages that fit a query best, in the DataNets that this server has ready: those of agents that it has served or
   * prepared. Nothing is fetched for it. What was withdrawn meanwhile is left out.
   *
   * @param dataNets Ids; all that are ready unless given.
   */
  async searchReady({ query, dataNets, limit }: { query: string; dataNets?: readonly number[]; limit: number }) {
    const open = this.shelf.dataNets.takeOpen();
    try {
      const wanted = open.filter(({ index }) => dataNets?.includes(index.dataNet) ?? true).map(({ index }) => index);
      const hits = wanted.length > 0 ? await search(wanted, query, { limit }) : [];
      return hits.filter(({ contribution }) => this.#options.mirror.contribution(contribution)?.withdrawnAt === 0);
    } finally {
      for (const net of open) net.release();
    }
  }

  readonly serve: ServeJob = async (job, onPiece, signal) => {
    const taken = this.shelf.take(job.agent, job.version);
    let agent: ReadyAgent;
    try {
      agent = await unlessLeft(taken, signal);
    } catch (error) {
      taken.then((late) => late.release()).catch(() => {});
      throw error;
    }
    try {
      const generated = await this.#generate(job, agent, onPiece, signal);
      // The client may be gone: what it got is measured and charged all the same.
      return await this.#measure(agent, generated);
    } catch (error) {
      if (error instanceof EngineError && error.code === "unknown_adapter") this.shelf.forgetAdapters(agent.adapters);
      throw asServingError(error);
    } finally {
      agent.release();
    }
  };

  async close(): Promise<void> {
    await this.#tools.close();
    await this.#influence?.close();
    this.shelf.close();
  }

  async #generate(job: AskedJob, agent: ReadyAgent, onPiece: Parameters<ServeJob>[1], signal: AbortSignal) {
    const { engine } = this.#options;
    const question = questionOf(job.prompt);
    const most = MOST_SOURCES - agent.tools.length - (agent.template ? 1 : 0);
    const tools = new ToolUse({ clients: this.#tools, agent, model: this.model, limits: this.#limits, signal });
    const [found, results] = await Promise.all([
      this.#retrieve(agent, question, this.#limits.passages),
      tools.callBefore(question),
    ]);
    const chosen = new Set([...new Set(found.map(({ passage }) => passage.contribution))].slice(0, most));
    const passages = found.filter(({ passage }) => chosen.has(passage.contribution));
    const offered = "messages" in job.prompt ? await tools.offer() : [];
    const budget = {
      composition: agent.composition,
      maxPrice: job.maxPrice,
      contextTokens: this.#info.maxContextTokens ?? Number.MAX_SAFE_INTEGER,
    };
    const inputs = { asked: job.prompt, question, passages, results, offered };
    const { composed, promptTokens } = fitPrompt(
      { ...inputs, ...(agent.template && { template: agent.template }) },
      this.model,
      budget,
      this.#limits,
      job.maxTokens,
    );
    const { model } = this;
    const answer = await answerInRounds({
      ...{ engine, model, job, composed, promptTokens, adapters: agent.adapters, budget, onPiece, signal },
      // Elsewhere than in exact mode scoring rounds otherwise than generating.
      measured: this.#info.exact && this.#info.supports.logprobs,
      ...(offered.length > 0 && { call: (now, calls) => tools.carryOut(now, calls) }),
    });
    return { ...answer, question, notes: tools.notes };
  }

  async #retrieve(agent: ReadyAgent, query: string, limit = this.#limits.passages): Promise<RetrievedPassage[]> {
    const { mirror } = this.#options;
    const nets = agent.nets.filter(({ pinned }) => pinned !== undefined);
    if (nets.length === 0) return [];
    const hits = await search(
      nets.map(({ index }) => index),
      query,
      { limit },
    );
    return hits.map(({ score: _, duplicateOf: __, ...passage }) => ({
      passage,
      via: agent.composition.dataNets.findIndex(({ id }) => id === passage.dataNet),
      owner: mirror.contentOf(passage.contribution)!.owner.toLowerCase(),
    }));
  }

  async #measure(
    agent: ReadyAgent,
    answer: GeneratedAnswer & { question: string; notes: readonly string[] },
  ): Promise<ServedAnswer> {
    const { engine } = this.#options;
    const { composed, tokens, text, end, logprobs, promptTokens, generated } = answer;
    const inputs = traceInputs(agent, this.#info, this.model, answer);
    const training = inputs.measures.training;
    const influence =
      training === "influence" && this.#influence && this.model.encode
        ? await this.#influence.measure(agent.composition, {
            prompt: this.model.encode(wholePrompt(composed)),
            answer: tokens,
          })
        : [];
    const corpora = agent.nets.map(({ corpus }) => corpus);
    const { bytes, hash, trace } = await attribute({
      engine,
      inputs,
      corpora,
      influence,
      ...(generated && { generated }),
    });
    const { context, training: trained, tool } = trace.pools;
    return {
      ...{ text, end, promptTokens },
      ...(logprobs && { logprobs }),
      completionTokens: isSilence(tokens, this.model) ? 0 : tokens.length,
      context: [...context],
      training: [...trained],
      tools: [...tool],
      trace: bytes,
      traceHash: toHex(hash),
    };
  }
}

function traceInputs(
  agent: ReadyAgent,
  info: EngineInfo,
  model: ModelText,
  answer: GeneratedAnswer & { question: string; notes: readonly string[] },
): TraceInputs {
  const { composition } = agent;
  const { contextMeasure, trainingMeasure } = composition;
  const byContext = contextMeasure === CONTEXT_MEASURE.verbatim;
  return {
    agent: agent.agent,
    version: agent.version,
    model: {
      name: info.model,
      ...(info.modelHash !== undefined && { hash: info.modelHash }),
      ...(info.sparse && { sparse: info.sparse }),
      ...(info.quantisation && { quantisation: info.quantisation }),
    },
    adapters: composition.adapters.map(({ id, version }, i) => {
      const { id: name, weight = 1 } = agent.adapters[i];
      const hash = answer.adapters.find((one) => one.id === name)?.hash;
      return { id, version, name, weight, ...(hash !== undefined && { hash }) };
    }),
    prompt: answer.composed.prompt,
    question: answer.question,
    sources: answer.composed.sources,
    // What the tokens spell, which a stop string or a cancelled client may have cut from what was given.
    answer: { text: model.textOf?.(answer.tokens) ?? answer.text, tokens: answer.tokens },
    corpora: agent.nets.map(({ index, pinned, training }) => ({
      dataNet: index.dataNet,
      version: index.version,
      corpusHash: index.corpusHash,
      ...(byContext && pinned !== undefined && { context: pinned }),
      ...(training !== undefined && { training }),
    })),
    measures: {
      context: byContext ? "verbatim" : "leave-one-out",
      training: trainingMeasure === TRAINING_MEASURE.verbatim ? "verbatim" : "influence",
    },
    ...(answer.notes.length > 0 && { notes: answer.notes }),
  };
}

/** Stops waiting for something that others may be waiting for as well. */
async function unlessLeft<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  const left = Promise.withResolvers<never>();
  const leave = () => left.reject(new ServingError("cancelled", "The client left before its agent was ready."));
  if (signal.aborted) leave();
  signal.addEventListener("abort", leave, { once: true });
  try {
    return await Promise.race([left.promise, work]);
  } finally {
    signal.removeEventListener("abort", leave);
  }
}
