import type { TestContext } from "node:test";
import { type Handler, startPeer } from "./scripted-peer.ts";

const encoder = new TextEncoder();

/** Token ids of the scripted servers: one a byte, after a beginning-of-sequence token 256 where that is asked for. */
export function byteTokens(text: string, special: boolean): number[] {
  return [...(special ? [256] : []), ...encoder.encode(text)];
}

/** The log-probability that the scripted servers give to a token at a position: any fixed function will do. */
export function scriptedLogprob(id: number, position: number): number {
  return -((id % 7) + position / 100 + 0.25);
}

export interface VllmState {
  /** Loaded adapters: name to path. */
  readonly adapters: Map<string, string>;
  handler: Handler;
}

/** A server that behaves as vLLM documents: base model "base", answers "<model> says hi" and knows its adapters. */
export function vllmState(): VllmState {
  const adapters = new Map<string, string>();
  const handler: Handler = ({ path, body }, reply) => {
    const missing = (name: string) =>
      reply.json(
        { error: { message: `The model \`${name}\` does not exist.`, type: "NotFoundError", code: 404 } },
        404,
      );
    if (path === "/v1/models") {
      const base = { id: "base", object: "model", owned_by: "vllm", root: "org/base", parent: null, max_model_len: 64 };
      const cards = [...adapters].map(([id, root]) => ({
        id,
        root,
        parent: "base",
        owned_by: "vllm",
        object: "model",
      }));
      return reply.json({ object: "list", data: [base, ...cards] });
    }
    if (path === "/tokenize") {
      const text = body.prompt ?? body.messages.map((message: { content: string }) => message.content).join("|");
      const tokens = byteTokens(text, body.add_special_tokens ?? false);
      return reply.json({ count: tokens.length, max_model_len: 64, tokens });
    }
    if (path === "/v1/load_lora_adapter") {
      if (body.lora_path.includes("broken")) {
        const error = { message: "Loading lora failed: rank 512 is too large", type: "InternalServerError", code: 500 };
        return reply.json({ error }, 500);
      }
      if (adapters.has(body.lora_name)) {
        const message = `The lora adapter '${body.lora_name}' has already been loaded.`;
        return reply.json({ error: { message, type: "InvalidUserInput", code: 400 } }, 400);
      }
      adapters.set(body.lora_name, body.lora_path);
      return reply.text(`Success: LoRA adapter '${body.lora_name}' added successfully.`);
    }
    if (path === "/v1/unload_lora_adapter") {
      if (!adapters.delete(body.lora_name)) return missing(body.lora_name);
      return reply.text(`Success: LoRA adapter '${body.lora_name}' removed successfully.`);
    }
    if (path !== "/v1/completions") return reply.json({ detail: "Not Found" }, 404);
    if (body.model !== "base" && !adapters.has(body.model)) return missing(body.model);
    if (body.prompt_logprobs !== undefined) return scores(body, reply);
    return stream(body, reply);
  };
  return { adapters, handler };
}

function stream(body: Parameters<Handler>[0]["body"], reply: Parameters<Handler>[1]): void {
  const prompt = typeof body.prompt === "string" ? byteTokens(body.prompt, true) : body.prompt;
  const pieces = [body.model, " says", " hi"];
  const common = { id: "cmpl-1", object: "text_completion", created: 1, model: body.model };
  reply.stream();
  for (let index = 0; index < body.n; index++) {
    for (const [i, text] of pieces.entries()) {
      const last = i === pieces.length - 1;
      reply.event({
        ...common,
        choices: [
          {
            index,
            text,
            logprobs:
              body.logprobs === undefined
                ? null
                : { tokens: [text], token_logprobs: [-0.5], top_logprobs: [{ [text]: -0.5, other: -1.5 }] },
            finish_reason: last ? "stop" : null,
            stop_reason: null,
            ...(i === 0 && { prompt_token_ids: prompt }),
            token_ids: [1000 + i],
          },
        ],
      });
    }
  }
  const usage = {
    prompt_tokens: prompt.length,
    completion_tokens: pieces.length * body.n,
    prompt_tokens_details: { cached_tokens: 4 },
  };
  reply.event({ ...common, choices: [], usage });
  reply.event("[DONE]");
  reply.end();
}

function scores(body: Parameters<Handler>[0]["body"], reply: Parameters<Handler>[1]): void {
  const choices = (body.prompt as number[][]).map((ids, index) => ({
    index,
    text: "x",
    finish_reason: "length",
    prompt_logprobs: ids.map((id, position) =>
      position === 0
        ? null
        : {
            "3": { logprob: -0.01, rank: 1, decoded_token: "?" },
            [id]: { logprob: scriptedLogprob(id, position), rank: 2, decoded_token: "x" },
          },
    ),
  }));
  // The order of choices is the server's own affair.
  reply.json({ model: body.model, choices: choices.reverse(), usage: { prompt_tokens: 1, completion_tokens: 1 } });
}

/** Starts such a server. */
export async function startVllm(context: TestContext) {
  const state = vllmState();
  const peer = await startPeer(context, state.handler);
  return { ...state, peer };
}
