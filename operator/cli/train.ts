import { Command, InvalidArgumentError } from "commander";
import { LORA_TARGETS, type LoraTarget } from "../engine/model/lora.ts";

/** `openledger train`: a DataNet folder and a base model become an adapter. */
export function trainCommand(): Command {
  return new Command("train")
    .description("Fine-tune a LoRA adapter on DataNets; a killed run goes on where it was when started again.")
    .requiredOption("--model <folder>", "base model: its folder, or org/name[@revision] on the Hugging Face hub")
    .requiredOption("--data <folder>", "DataNet folder (.jsonl, .md, .txt); up to eight", collect, [])
    .requiredOption("--out <folder>", "where the PEFT adapter is written")
    .option("--epochs <n>", "passes over the documents", count, 3)
    .option("--rank <r>", "rank of the factors", count, 8)
    .option("--alpha <a>", "the factors' product is multiplied by alpha / rank", positive, 16)
    .option("--targets <names>", "matrices to adapt, with commas between (default: all seven)", targets)
    .option("--batch <rows>", "answers per step", count, 16)
    .option("--tokens <n>", "tokens computed at once: memory against speed", count, 2048)
    .option("--max-length <tokens>", "longest prompt and answer together", count, 1024)
    .option("--learning-rate <x>", "the highest rate", positive, 5e-4)
    .option("--evaluation <share>", "share of the documents kept apart to measure on", share, 0.1)
    .option("--seed <n>", "same seed, same adapter", count, 1)
    .option("--threads <n>", "threads that compute (default: all cores)", count)
    .option("--sketch <n>", "numbers kept per matrix and document for influence; 0 records none", whole, 256)
    .option("--checkpoint <steps>", "steps between checkpoints", count, 50)
    .option("--json", "print one JSON object at the end", false)
    .action(async (options) => (await import("./train/train.ts")).train(options));
}

function collect(text: string, earlier: string[]): string[] {
  return [...earlier, text];
}

function whole(text: string): number {
  if (!/^\d+$/.test(text)) throw new InvalidArgumentError("It must be a whole number.");
  return Number(text);
}

function count(text: string): number {
  const value = whole(text);
  if (value === 0) throw new InvalidArgumentError("It must be at least 1.");
  return value;
}

function positive(text: string): number {
  const value = Number(text);
  if (!(value > 0 && value < Infinity)) throw new InvalidArgumentError("It must be a number above 0.");
  return value;
}

function share(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !(value >= 0 && value < 1)) throw new InvalidArgumentError("It must be from 0 to below 1.");
  return value;
}

function targets(text: string): LoraTarget[] {
  return text.split(",").map((name) => {
    const target = LORA_TARGETS.find((known) => known === name.trim() || known === `${name.trim()}_proj`);
    if (target === undefined) throw new InvalidArgumentError(`${name} is not one of ${LORA_TARGETS.join(", ")}.`);
    return target;
  });
}
