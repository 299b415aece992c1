import type { AdapterStore } from "../adapters/adapter-store.ts";
import type { AdapterUse, GenerateRequest, Prompt, ResponseFormat, ScoreRequest } from "../engine.ts";
import { EngineError } from "../engine-error.ts";
import type { ModelConfig } from "../model/config-types.ts";
import type { ModelTokenizer } from "../model/tokenizer.ts";
import type { GrammarSession } from "../sampling/grammar.ts";
import type { GrammarService } from "../sampling/grammar-service.ts";
import { checkedSchema } from "../sampling/json-schema-check.ts";
import { type SamplingParameters, samplingParameters } from "../sampling/sampling-parameters.ts";
import type { GenerateJob, JobAdapter, ScoreJob } from "../scheduler/job.ts";

const MAX_STOPS = 16;
const MAX_STOP_LENGTH = 1024;
const MAX_LOGPROBS = 20;
const MAX_CHOICES = 128;
const MAX_CONTEXTS = 1024;
const MAX_WEIGHT = 16;
/** No tokenizer packs more characters into a token on average; longer texts are refused before they cost time. */
const CHARACTERS_PER_TOKEN = 32;

interface IntakeOptions {
  readonly config: ModelConfig;
  readonly tokenizer: ModelTokenizer;
  readonly store: AdapterStore;
  readonly grammars: GrammarService;
  readonly maxSequenceTokens: number;
}

type GenerateSink = Pick<GenerateJob, "emit" | "fail">;
type ScoreSink = Pick<ScoreJob, "done" | "fail">;

/** Turns requests into jobs: checks every field, tokenises, claims adapters and grammars. */
export class RequestIntake {
  private readonly options: IntakeOptions;

  constructor(options: IntakeOptions) {
    this.options = options;
  }

  /** @throws EngineError `invalid_request`, `context_too_long`, `unknown_adapter` */
  generate(request: GenerateRequest, sink: GenerateSink): GenerateJob {
    const { config } = this.options;
    const choices = whole("n", request.n ?? 1, 1, MAX_CHOICES);
    const logprobs = request.logprobs === undefined ? undefined : whole("logprobs", request.logprobs, 0, MAX_LOGPROBS);
    const maxTokens = whole("maxTokens", request.maxTokens ?? Number.MAX_SAFE_INTEGER, 1, Number.MAX_SAFE_INTEGER);
    const stops = checkedStops(request.stop ?? []);
    const sampling = this.sampling(request);
    const schema = checkedFormat(request.responseFormat ?? { type: "text" });
    const prompt = this.tokens("prompt", request.prompt);
    const adapters = this.claim(request.adapters ?? []);
    const grammars: GrammarSession[] = [];
    for (let i = 0; i < choices && schema !== undefined; i++) {
      grammars.push(this.options.grammars.open(schema.text, schema.strict));
    }
    return {
      kind: "generate",
      ...{ prompt, adapters, sampling, maxTokens, stops, choices, logprobs, grammars },
      stopTokens: new Set(request.ignoreEos ? [] : config.eosTokenIds),
      payer: payerOf(request.payer),
      ...sink,
    };
  }

  /** @throws EngineError `invalid_request`, `context_too_long`, `unknown_adapter` */
  score(request: ScoreRequest, sink: ScoreSink): ScoreJob {
    const { contexts: given, continuation: wanted } = request;
    if (!Array.isArray(given) || given.length === 0 || given.length > MAX_CONTEXTS) {
      throw new EngineError("invalid_request", `contexts: 1 to ${MAX_CONTEXTS} are scored in one request`);
    }
    const contexts = given.map((context, i) => this.tokens(`contexts[${i}]`, context));
    const continuation =
      "text" in wanted
        ? this.encode("continuation", wanted.text, false)
        : this.checkedIds("continuation", wanted.tokens);
    if (continuation.length === 0) throw new EngineError("invalid_request", "continuation: there is no token in it");
    const adapters = this.claim(request.adapters ?? []);
    return { kind: "score", contexts, continuation, adapters, payer: payerOf(request.payer), ...sink };
  }

  /** Gives back what a job claimed that was not accepted. */
  release(job: GenerateJob | ScoreJob): void {
    for (const { ticket } of job.adapters) this.options.store.end(ticket);
    if (job.kind === "generate") for (const grammar of job.grammars) grammar.close();
  }

  private sampling(request: GenerateRequest): SamplingParameters {
    const pickSeed = () => Math.floor(Math.random() * Number.MAX_SAFE_INTEGER);
    return samplingParameters(request.sampling ?? {}, this.options.config.vocabSize, pickSeed);
  }

  private claim(uses: readonly AdapterUse[]): JobAdapter[] {
    const claimed: JobAdapter[] = [];
    try {
      for (const { id, weight = 1 } of uses) {
        if (!(typeof weight === "number" && Math.abs(weight) <= MAX_WEIGHT)) {
          throw new EngineError(
            "invalid_request",
            `adapter ${id}: weight ${weight} is not in [-${MAX_WEIGHT}, ${MAX_WEIGHT}]`,
          );
        }
        claimed.push({ ticket: this.options.store.begin(id), weight });
      }
    } catch (error) {
      for (const { ticket } of claimed) this.options.store.end(ticket);
      throw error;
    }
    return claimed;
  }

  private tokens(name: string, prompt: Prompt): Int32Array {
    const ids = this.promptIds(name, prompt);
    if (ids.length > 0) return ids;
    const { bosTokenId } = this.options.config;
    if (bosTokenId === undefined) throw new EngineError("invalid_request", `${name}: there is no token in it`);
    return Int32Array.of(bosTokenId);
  }

  private promptIds(name: string, prompt: Prompt): Int32Array {
    if ("tokens" in prompt) return this.checkedIds(name, prompt.tokens);
    if ("text" in prompt) return this.encode(name, prompt.text, true);
    try {
      const text = this.options.tokenizer.applyTemplate(
        prompt.messages.map((message) => ({ ...message })),
        prompt.tools === undefined ? {} : { tools: prompt.tools },
      );
      return this.encode(name, text, false);
    } catch (error) {
      throw EngineError.from(error, "invalid_request");
    }
  }

  private encode(name: string, text: unknown, special: boolean): Int32Array {
    if (typeof text !== "string") throw new EngineError("invalid_request", `${name}: is no text`);
    const { maxSequenceTokens, tokenizer } = this.options;
    const limit = maxSequenceTokens * CHARACTERS_PER_TOKEN;
    if (text.length > limit) {
      throw new EngineError(
        "context_too_long",
        `${name}: ${text.length} characters; a sequence has room for ${maxSequenceTokens} tokens`,
      );
    }
    try {
      return Int32Array.from(tokenizer.encode(text, { special }));
    } catch (error) {
      throw EngineError.from(error, "invalid_request");
    }
  }

  private checkedIds(name: string, tokens: readonly number[]): Int32Array {
    const { vocabSize } = this.options.config;
    if (!Array.isArray(tokens)) throw new EngineError("invalid_request", `${name}: tokens are no list`);
    const bad = tokens.find((token) => !(Number.isInteger(token) && token >= 0 && token < vocabSize));
    if (bad !== undefined)
      throw new EngineError("invalid_request", `${name}: ${bad} is no token id below ${vocabSize}`);
    return Int32Array.from(tokens);
  }
}

function checkedStops(stops: readonly string[]): readonly string[] {
  const fine = (stop: unknown) => typeof stop === "string" && stop.length > 0 && stop.length <= MAX_STOP_LENGTH;
  if (Array.isArray(stops) && stops.length <= MAX_STOPS && stops.every(fine)) return stops;
  throw new EngineError("invalid_request", `stop: up to ${MAX_STOPS} texts of 1 to ${MAX_STOP_LENGTH} characters`);
}

function checkedFormat(format: ResponseFormat): { text: string; strict: boolean } | undefined {
  switch (format.type) {
    case "text":
      return undefined;
    case "json_object":
      return { text: checkedSchema({ type: "object" }), strict: false };
    case "json_schema":
      return { text: checkedSchema(format.schema), strict: true };
    default:
      throw new EngineError("invalid_request", `responseFormat: ${JSON.stringify(format)} is not known`);
  }
}

function payerOf(payer: string | undefined): string {
  return payer ?? "";
}

function whole(name: string, value: number, low: number, high: number): number {
  if (Number.isInteger(value) && value >= low && value <= high) return value;
  throw new EngineError("invalid_request", `${name} is ${value}, not a whole number from ${low} to ${high}`);
}
