import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readModelConfig } from "../../../../operator/engine/model/config.ts";
import { modelFolder } from "../../../../scripts/bench/shapes.ts";
import { tinyAdapter } from "../adapters/tiny-adapter.ts";

const root = mkdtempSync(join(tmpdir(), "openledger-engine-"));
process.on("exit", () => rmSync(root, { recursive: true, force: true }));

/** A whole Hugging Face folder with random weights, tokenizer and chat template. */
export const MODEL = modelFolder("tiny");
/** Compiled graphs of these tests. */
export const GRAPHS = join(root, "graphs");

let made = 0;

/** An adapter for it, strong enough to change every answer. */
export function adapter(seed: number, rank = 4): string {
  return tinyAdapter(join(root, `adapter-${made++}`), seed, { rank, size: 0.2, config: readModelConfig(MODEL) });
}

/** A folder whose adapter cannot be read. */
export function brokenAdapter(): string {
  const folder = join(root, `broken-${made++}`);
  mkdirSync(folder);
  writeFileSync(join(folder, "adapter_config.json"), '{"peft_type": "LORA"');
  writeFileSync(join(folder, "adapter_model.safetensors"), "too short");
  return folder;
}
