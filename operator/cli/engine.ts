import { Command, InvalidArgumentError, Option } from "commander";
import type { EngineOptions } from "./engine/open-engine.ts";

/** `openledger engine ...`: the model without anything around it. */
export function engineCommand(): Command {
  const engine = new Command("engine").description("Run a model and its adapters directly.");
  withEngineOptions(engine.command("generate"))
    .description("Generate text; it is printed as it comes.")
    .requiredOption("--prompt <text>", "the prompt; - reads it from standard input")
    .option("--max-tokens <n>", "tokens to generate at most", whole, 256)
    .option("--temperature <t>", "0 always takes the likeliest token", number, 1)
    .option("--top-p <p>", "keep the likeliest tokens that reach this probability together", number)
    .option("--top-k <k>", "keep the k likeliest tokens", whole)
    .option("--min-p <p>", "keep tokens at least this likely relative to the likeliest", number)
    .option("--seed <n>", "same seed, same answer", whole)
    .option("--stop <text>", "end before this text; may be given several times", collect, [])
    .option("--schema <file>", "JSON schema that the answer must follow")
    .addOption(new Option("--raw", "take the prompt as it stands, with the model's own start token").conflicts("chat"))
    .addOption(new Option("--chat", "put the prompt into the model's chat template").conflicts("raw"))
    .action(async (options) => (await import("./engine/generate.ts")).generate(options));
  withEngineOptions(engine.command("score"))
    .description("Log-probability of a continuation after a context.")
    .requiredOption("--context <text>", "what comes before; - reads it from standard input")
    .requiredOption("--continuation <text>", "what is scored")
    .action(async (options) => (await import("./engine/score.ts")).score(options));
  withEngineOptions(engine.command("info"))
    .description("What a model is, and what serving it here would take.")
    .action(async (options) => (await import("./engine/info.ts")).info(options));
  return engine;
}

const MODEL_HELP =
  "model folder, org/name[@revision] on the Hugging Face hub, or the address of a server: vllm+http://host:8000";

function withEngineOptions(command: Command): Command {
  return command
    .requiredOption("--model <folder>", MODEL_HELP)
    .option(
      "--adapter <folder[=weight]>",
      "PEFT adapter: a folder, or org/name on the hub; several make a blend",
      collectAdapters,
      [],
    )
    .addOption(new Option("--quant <kind>", "precision of the weights").choices(["f32", "q8", "q4"]))
    .option("--exact", "answers that depend on nothing but the request", false)
    .option("--threads <n>", "threads that compute", whole)
    .option(
      "--sparse <sinks,local[,stride]>",
      "attend to the first blocks of 64 tokens, the latest ones and every stride-th only; it changes what a model says",
      pattern,
    )
    .option("--memory <MiB>", "memory that the engine may take", whole)
    .addOption(new Option("--provider <name>", "where to compute").choices(["cpu", "webgpu", "cuda"]))
    .option("--json", "print one JSON object", false);
}

function whole(text: string): number {
  if (!/^-?\d+$/.test(text)) throw new InvalidArgumentError("It must be a whole number.");
  return Number(text);
}

function number(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !Number.isFinite(value)) throw new InvalidArgumentError("It must be a number.");
  return value;
}

function pattern(text: string): EngineOptions["sparse"] {
  if (!/^\d+,\d+(,\d+)?$/.test(text)) {
    throw new InvalidArgumentError("It must be two or three whole numbers of blocks: 1,16,8.");
  }
  const [sinkBlocks, localBlocks, stride] = text.split(",").map(Number);
  return { sinkBlocks, localBlocks, stride };
}

function collect(text: string, earlier: string[]): string[] {
  return [...earlier, text];
}

/** `DIR` or `DIR=weight`; a folder whose own name ends like a weight can be written with `=1` after it. */
function collectAdapters(text: string, earlier: EngineOptions["adapter"]): EngineOptions["adapter"] {
  const match = /^(.+)=(-?\d+(?:\.\d+)?)$/.exec(text);
  const [path, weight] = match === null ? [text, 1] : [match[1], Number(match[2])];
  return [...earlier, { path, weight }];
}
