import { readFileSync } from "node:fs";
import type { DoneEvent, FinishReason, GenerateRequest, Prompt, ResponseFormat } from "../../engine/engine.ts";
import { EngineError } from "../../engine/engine-error.ts";
import { interruptible } from "../interrupt.ts";
import { type EngineOptions, type OpenedEngine, openEngine, printSettings } from "./open-engine.ts";
import { optionText } from "./prompt-text.ts";

interface GenerateOptions extends EngineOptions {
  readonly prompt: string;
  readonly maxTokens: number;
  readonly temperature: number;
  readonly topP?: number;
  readonly topK?: number;
  readonly minP?: number;
  readonly seed?: number;
  readonly stop: readonly string[];
  readonly schema?: string;
  readonly raw?: boolean;
  readonly chat?: boolean;
}

/** `openledger engine generate` */
export async function generate(options: GenerateOptions): Promise<void> {
  await interruptible(async (signal) => {
    const opened = await openEngine(options, signal);
    try {
      if (!options.json) await printSettings(opened.engine);
      const request = await requestOf(options, opened);
      await (options.json ? printJson(opened, request, signal) : printText(opened, request, signal));
    } finally {
      await opened.engine.close();
    }
  });
}

async function requestOf(options: GenerateOptions, { engine, adapters }: OpenedEngine): Promise<GenerateRequest> {
  const { maxTokens, temperature, topP, topK, minP, seed, stop, json } = options;
  const { supports } = await engine.info();
  const format = options.schema === undefined ? undefined : readSchema(options.schema);
  return {
    prompt: promptOf(options, await optionText(options.prompt), supports.chat),
    adapters,
    sampling: { temperature, topP, topK, minP, seed },
    maxTokens,
    stop,
    ...(json && supports.logprobs && { logprobs: 0 }),
    ...(format !== undefined && { responseFormat: format }),
  };
}

function promptOf({ raw, chat }: GenerateOptions, text: string, hasTemplate: boolean): Prompt {
  const asChat = chat ?? (raw ? false : hasTemplate);
  return asChat ? { messages: [{ role: "user", content: text }] } : { text };
}

function readSchema(path: string): ResponseFormat {
  try {
    return { type: "json_schema", schema: JSON.parse(readFileSync(path, "utf8")) };
  } catch (error) {
    throw new EngineError("invalid_request", `--schema ${path}: ${(error as Error).message}`);
  }
}

async function printText({ engine }: OpenedEngine, request: GenerateRequest, signal: AbortSignal): Promise<void> {
  let started = false;
  try {
    for await (const event of engine.generate(request, signal)) {
      if (event.type === "start") started = true;
      if (event.type === "token" || event.type === "finish") process.stdout.write(event.text);
      if (event.type === "done") console.error(`\n${summary(event)}`);
    }
  } finally {
    if (started) process.stdout.write("\n");
  }
}

function summary({ usage, timings }: DoneEvent): string {
  const { promptTokens, completionTokens } = usage;
  const decodeMs = timings.totalMs - timings.firstTokenMs;
  const speed = decodeMs > 0 && completionTokens > 1 ? ((completionTokens - 1) / decodeMs) * 1000 : 0;
  return `${promptTokens} tokens in, ${completionTokens} out; first after ${timings.firstTokenMs.toFixed(0)} ms, then ${speed.toFixed(1)} a second`;
}

async function printJson({ engine }: OpenedEngine, request: GenerateRequest, signal: AbortSignal): Promise<void> {
  let text = "";
  let finishReason: FinishReason | undefined;
  let promptTokenIds: readonly number[] | undefined;
  let seed: number | undefined;
  let adapters: unknown;
  let end: DoneEvent | undefined;
  const tokenIds: (number | undefined)[] = [];
  const logprobs: (number | undefined)[] = [];
  for await (const event of engine.generate(request, signal)) {
    switch (event.type) {
      case "start":
        ({ promptTokenIds, seed, adapters } = event);
        break;
      case "token":
        text += event.text;
        tokenIds.push(event.tokenId);
        logprobs.push(event.logprob?.logprob);
        break;
      case "finish":
        text += event.text;
        finishReason = event.reason;
        break;
      case "done":
        end = event;
    }
  }
  const { usage, timings } = end!;
  const { sparse } = await engine.info();
  console.log(
    JSON.stringify({ text, tokenIds, promptTokenIds, logprobs, finishReason, seed, adapters, sparse, usage, timings }),
  );
}
