import type { ToolCall } from "../tools/tool-calls.ts";
import type { ToolClients } from "../tools/tool-clients.ts";
import { ToolError } from "../tools/tool-error.ts";
import { argumentsFor } from "../tools/tool-manifest.ts";
import type { ReadyAgent } from "./agent-shelf.ts";
import { withCall } from "./answer-rounds.ts";
import type { ComposedPrompt, PromptInputs } from "./compose-prompt.ts";
import type { PromptLimits } from "./fit-prompt.ts";
import { type ModelText, plainDeep } from "./model-text.ts";
import { ServingError } from "./served-job.ts";

/** Calls of tools that one job may make in all. */
const MOST_CALLS = 8;
/** Characters of a schema that a prompt has room for. */
const MAX_SCHEMA = 8_192;

/** What the model is told of calls that give nothing. */
export const CALL_ANSWERS = /^(No more calls are possible\.|There is no such tool\.|The call failed: \w+\.)$/;

type AgentTool = ReadyAgent["tools"][number];

interface ToolUseOptions {
  readonly clients: ToolClients;
  readonly agent: ReadyAgent;
  readonly model: ModelText;
  readonly limits: PromptLimits;
  readonly signal: AbortSignal;
}

/** The tools of one job: called before the answer, or by the model. */
export class ToolUse {
  /** What went wrong without ending the job, for the trace. */
  readonly notes: string[] = [];
  readonly #options: ToolUseOptions;
  #calls = 0;

  constructor(options: ToolUseOptions) {
    this.#options = options;
  }

  /**
   * Calls the tools that are asked before every answer, at once. One that fails is left out, with a note.
   *
   * @throws {ServingError} `toolFailed` when its manifest says that there is no answer without it; `cancelled`
   */
  async callBefore(question: string): Promise<PromptInputs["results"]> {
    const { clients, signal } = this.#options;
    const results = await Promise.all(
      this.#tools("before").map(async ({ tool, via }) => {
        const { call, name } = tool.manifest;
        if (call.when !== "before") return [];
        try {
          const text = await clients.call(tool, argumentsFor(question, call.arguments), signal);
          return [{ id: tool.id, via, name, text: this.#cut(text) }];
        } catch (error) {
          const { code, message } = this.#toolError(error);
          if (call.required) throw new ServingError("toolFailed", message, { cause: error });
          // The message may hold what differs from run to run; the same job has the same trace.
          return [{ note: `Tool ${tool.id} was left out: ${code}.` }];
        }
      }),
    );
    return results.flat().flatMap((result) => {
      if ("id" in result) return [result];
      this.notes.push(result.note);
      return [];
    });
  }

  /** The tools that the model may call, as chat templates take them. */
  async offer(): Promise<unknown[]> {
    const { clients, model, signal } = this.#options;
    const offered = await Promise.all(
      this.#tools("model").map(async ({ tool }) => {
        const { name, description } = tool.manifest;
        try {
          const parameters = await clients.schema(tool, signal);
          if (JSON.stringify(parameters).length > MAX_SCHEMA)
            throw new ToolError("too_large", "The schema is too large.");
          return [plainDeep({ type: "function", function: { name, description, parameters } }, model)];
        } catch (error) {
          return [{ note: `Tool ${tool.id} was not offered: ${this.#toolError(error).code}.` }];
        }
      }),
    );
    return offered.flat().filter((entry) => {
      const { note } = entry as { note?: string };
      if (note !== undefined) this.notes.push(note);
      return note === undefined;
    });
  }

  /** Carries out calls one after another. What fails is told to the model. */
  async carryOut(composed: ComposedPrompt, calls: readonly ToolCall[]): Promise<ComposedPrompt> {
    const { clients, model, signal } = this.#options;
    let now = composed;
    for (const asked of calls) {
      const call = plainDeep(asked, model) as ToolCall;
      const found = this.#tools("model").find(({ tool }) => tool.manifest.name === asked.name);
      if (!found || this.#calls >= MOST_CALLS) {
        now = withCall(now, call, { text: found ? "No more calls are possible." : "There is no such tool." });
        continue;
      }
      this.#calls += 1;
      const { id } = found.tool;
      const { via } = found;
      try {
        const text = await clients.call(found.tool, asked.arguments, signal);
        now = withCall(now, call, { id, via, text: model.plain(this.#cut(text)) });
      } catch (error) {
        const { code } = this.#toolError(error);
        this.notes.push(`A call of tool ${id} failed: ${code}.`);
        // Nobody's: a tool earns by what it tells.
        now = withCall(now, call, { text: `The call failed: ${code}.` });
      }
    }
    return now;
  }

  #tools(when: "before" | "model"): { tool: AgentTool; via: number }[] {
    return this.#options.agent.tools
      .map((tool, via) => ({ tool, via }))
      .filter(({ tool }) => tool.manifest.call.when === when);
  }

  #toolError(error: unknown): ToolError {
    if (this.#options.signal.aborted) {
      throw new ServingError("cancelled", "The client left while its tools were asked.", { cause: error });
    }
    if (error instanceof ToolError) return error;
    throw error;
  }

  /** As much of a result as there is room for, whole characters only. */
  #cut(text: string): string {
    const { model, limits } = this.#options;
    const fits = (length: number) => model.count({ text: model.plain(text.slice(0, length)) }) <= limits.resultTokens;
    if (fits(text.length)) return text.toWellFormed();
    let [low, high] = [0, text.length];
    while (low + 1 < high) {
      const middle = (low + high) >> 1;
      if (fits(middle)) low = middle;
      else high = middle;
    }
    return text.slice(0, low).toWellFormed();
  }
}
