import { basename } from "node:path";
import { readAdapter } from "../../engine/model/adapter-folder.ts";
import { readModelConfig } from "../../engine/model/config.ts";
import { readTokenizer } from "../../engine/model/tokenizer.ts";
import { connectRemoteEngine, isRemoteEngineAddress } from "../../engine/remote/connect.ts";
import { hashModel } from "../../engine/runtime/compiled-model.ts";
import { describeSettings, resolveSettings, thisMachine } from "../../engine/worker/settings.ts";
import { type EngineOptions, located, mebibytes, settingsFor } from "./open-engine.ts";

/** `openledger engine info` */
export async function info(options: EngineOptions): Promise<void> {
  const facts = isRemoteEngineAddress(options.model)
    ? await remoteFacts(options.model)
    : localFacts(await located(options));
  if (options.json) console.log(JSON.stringify(facts));
  else print(facts, "");
}

async function remoteFacts(address: string): Promise<Record<string, unknown>> {
  const engine = await connectRemoteEngine(address);
  try {
    const { kind, model, maxContextTokens, vocabSize, supports, settings } = await engine.info();
    return { kind, model, maxContextTokens, vocabSize, supports, settings, adapters: await engine.adapters() };
  } finally {
    await engine.close();
  }
}

/** Read from the folders alone: nothing is compiled or loaded. */
function localFacts(options: EngineOptions): Record<string, unknown> {
  const config = readModelConfig(options.model);
  const { hasTemplate } = readTokenizer(options.model, config.vocabSize);
  const forAdapters = settingsFor(options);
  // Without adapters to fit, what a serving engine would choose.
  const { slots, maxRank, maxBatch, ...serving } = forAdapters;
  const settings = resolveSettings(
    options.adapter.length > 0 ? { ...serving, slots, maxRank, maxBatch } : serving,
    config,
    thisMachine(),
  );
  const { family, layers, hiddenSize, heads, kvHeads, vocabSize, maxPositions, tiedEmbeddings } = config;
  return {
    kind: "embedded",
    model: basename(forAdapters.model),
    modelHash: hashModel(options.model),
    ...{ family, layers, hiddenSize, heads, kvHeads, vocabSize, maxPositions, tiedEmbeddings },
    ropeScaling: config.ropeScaling.type,
    chatTemplate: hasTemplate,
    adapters: options.adapter.map(({ path, weight }) => {
      const { hash, rank, bytes } = readAdapter(path, config);
      return { path, weight, hash, rank, bytes };
    }),
    settings: describeSettings(settings),
  };
}

function print(value: Record<string, unknown>, indent: string): void {
  for (const [name, entry] of Object.entries(value)) {
    if (Array.isArray(entry)) {
      console.log(`${indent}${name}: ${entry.length === 0 ? "none" : ""}`);
      for (const part of entry) print(part as Record<string, unknown>, `${indent}  `);
    } else if (typeof entry === "object" && entry !== null) {
      console.log(`${indent}${name}:`);
      print(entry as Record<string, unknown>, `${indent}  `);
    } else console.log(`${indent}${name}: ${/[bB]ytes$/.test(name) ? mebibytes(Number(entry)) : entry}`);
  }
}
