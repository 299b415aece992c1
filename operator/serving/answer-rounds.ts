import type { TracedPrompt } from "../attribution/traced-prompt.ts";
import type { AdapterUse, Engine, GenerateRequest, TokenLogprob } from "../engine/engine.ts";
import { EngineError } from "../engine/engine-error.ts";
import { mayBeCalls, readToolCalls, type ToolCall } from "../tools/tool-calls.ts";
import { type ComposedPrompt, wholePrompt } from "./compose-prompt.ts";
import { answerRoom, type TokenBudget } from "./fit-prompt.ts";
import type { ModelText } from "./model-text.ts";
import { type AnswerEnd, type AnswerPiece, type AskedJob, ServingError } from "./served-job.ts";

/** Rounds of tool calls before the model has to answer. */
const MOST_ROUNDS = 4;

interface RoundsOptions {
  readonly engine: Engine;
  readonly model: ModelText;
  readonly job: AskedJob;
  readonly composed: ComposedPrompt;
  readonly promptTokens: number;
  readonly adapters: readonly AdapterUse[];
  readonly budget: TokenBudget;
  readonly onPiece: (piece: AnswerPiece) => void;
  readonly signal: AbortSignal;
  /** Whether each token's log-probability is wanted to measure the answer with. */
  readonly measured: boolean;
  /** Carries out what the model asks for and gives the conversation with it; undefined when no tool is offered. */
  readonly call?: (composed: ComposedPrompt, calls: readonly ToolCall[]) => Promise<ComposedPrompt>;
}

/** What the model said in the end, and for which prompt. */
export interface GeneratedAnswer {
  readonly composed: ComposedPrompt;
  readonly text: string;
  /** All that was generated, a stop string included. */
  readonly tokens: readonly number[];
  /** Each token's log-probability, where they are to measure the answer with. */
  readonly generated: readonly number[] | undefined;
  readonly end: AnswerEnd;
  readonly logprobs: AnswerPiece["logprobs"];
  readonly promptTokens: number;
  readonly adapters: readonly { readonly id: string; readonly weight: number; readonly hash?: string }[];
}

/** Generates an answer, carrying out tool calls in between. Only the answer itself is given piece by piece. */
export async function answerInRounds(options: RoundsOptions): Promise<GeneratedAnswer> {
  let { composed, promptTokens } = options;
  for (let round = 0; ; round++) {
    const { call } = options;
    const offers = call !== undefined && round < MOST_ROUNDS;
    const said = await generateOnce({ ...options, composed, promptTokens }, offers);
    const calls = offers && said.held && said.end !== "cancelled" ? readToolCalls(said.shown) : undefined;
    if (calls === undefined) {
      for (const piece of said.held ?? []) options.onPiece(piece);
      return { ...said, composed };
    }
    composed = await call!(composed, calls);
    promptTokens = options.model.count(wholePrompt(composed));
  }
}

type Said = Omit<GeneratedAnswer, "composed"> & {
  /** Pieces not given yet, because the text may be tool calls. */
  readonly held: readonly AnswerPiece[] | undefined;
  /** The text with the model's marks of its own. */
  readonly shown: string;
};

async function generateOnce(options: RoundsOptions, offers: boolean): Promise<Said> {
  const { engine, model, job, composed, budget, onPiece, signal, measured } = options;
  const room = answerRoom(budget, options.promptTokens);
  const request: GenerateRequest = {
    prompt: wholePrompt(composed),
    adapters: options.adapters,
    sampling: { ...job.sampling, seed: job.sampling.seed ?? seedOf(job.jobId) },
    maxTokens: Math.min(job.maxTokens ?? room, room),
    payer: job.payer,
    ...(job.stop && { stop: job.stop }),
    ...((measured || job.logprobs !== undefined) && { logprobs: job.logprobs ?? 0 }),
    ...(job.responseFormat && { responseFormat: job.responseFormat }),
  };
  const tokens: number[] = [];
  const generated: number[] = [];
  const logprobs: (TokenLogprob & { top: readonly TokenLogprob[] })[] = [];
  let text = "";
  let { promptTokens } = options;
  let adapters: GeneratedAnswer["adapters"] = [];
  let end: AnswerEnd = "cancelled";
  let held: AnswerPiece[] | undefined = offers ? [] : undefined;
  let at = 0;
  const shownOf = () => model.shownOf?.(tokens) ?? text;
  const give = (more: string, logprob?: (typeof logprobs)[number]) => {
    text += more;
    if (logprob) logprobs.push(logprob);
    if (more === "" && !logprob) return;
    const piece = { at: at++, text: more, ...(logprob && { logprobs: [logprob] }) };
    if (!held) return onPiece(piece);
    held.push(piece);
    if (mayBeCalls(shownOf())) return;
    for (const one of held) onPiece(one);
    held = undefined;
  };
  try {
    for await (const event of engine.generate(request, signal)) {
      if (event.type === "start") adapters = event.adapters;
      else if (event.type === "token") {
        if (event.tokenId !== undefined) tokens.push(event.tokenId);
        if (event.logprob) generated.push(event.logprob.logprob);
        give(event.text, job.logprobs === undefined ? undefined : event.logprob);
      } else if (event.type === "finish") {
        end = event.reason;
        give(event.text);
      } else promptTokens = event.usage.promptTokens;
    }
  } catch (error) {
    if (!(error instanceof EngineError && error.code === "cancelled" && signal.aborted)) throw asServingError(error);
  }
  if (tokens.length === 0) {
    if (end === "cancelled") throw new ServingError("cancelled", "The client left before anything was generated.");
    // Saying nothing is an answer: that the text ends here is what the model said.
    if (model.end === undefined) throw new ServingError("invalidRequest", "The model has nothing to say to this.");
    tokens.push(model.end);
  }
  return {
    ...{ text, tokens, end, promptTokens, adapters, held, generated: measured ? generated : undefined },
    logprobs: job.logprobs === undefined ? undefined : logprobs,
    shown: shownOf(),
  };
}

/** What an engine refuses whoever asks it again. Other errors stay what they are: another try may go better. */
export function asServingError(error: unknown): unknown {
  if (!(error instanceof EngineError)) return error;
  const code = {
    context_too_long: "promptTooLong",
    invalid_request: "invalidRequest",
    unsupported: "invalidRequest",
    adapter_failed: "agentUnavailable",
  }[error.code as string];
  return code === undefined ? error : new ServingError(code, error.message, { cause: error });
}

/** The seed of a job whose client gave none: 53 bits of its id. */
function seedOf(jobId: string): number {
  return Number(BigInt.asUintN(53, BigInt(jobId)));
}

/** A conversation with one more call and its result, both of which go with the tool that gave it. */
export function withCall(
  { prompt, sources }: ComposedPrompt,
  call: ToolCall,
  result: { readonly text: string; readonly id: number; readonly via: number } | { readonly text: string },
): ComposedPrompt {
  if (!("messages" in prompt)) return { prompt, sources };
  const known = "id" in result ? sources.findIndex(({ kind, id }) => kind === "tool" && id === result.id) : -1;
  const source = "id" in result ? { source: known < 0 ? sources.length : known } : {};
  const added = "id" in result && known < 0 ? [{ kind: "tool" as const, id: result.id, via: result.via }] : [];
  const messages: Extract<TracedPrompt, { messages: unknown }>["messages"] = [
    ...prompt.messages,
    { role: "assistant", parts: [], tool_calls: [{ type: "function", function: { ...call } }], ...source },
    { role: "tool", name: call.name, parts: [{ text: result.text, ...source }], ...source },
  ];
  return { prompt: { ...prompt, messages }, sources: [...sources, ...added] };
}
