import { createHash } from "node:crypto";
import { privateKeyToAddress } from "viem/accounts";
import { toHex } from "../../../operator/protocol/bytes.ts";
import { type Composition, EMPTY_POOL, encodeComposition } from "../../../operator/protocol/composition.ts";
import type { Stage } from "../../stage/stage.ts";

export const OPEN = 10n ** 18n;

/** What the benchmark registers once and every measurement uses. */
export interface Cast {
  /** Data contributions, all in the agent's DataNet. */
  contributions: number[];
  tool: number;
  /** One agent version of DataNet, adapter, prompt and tool. */
  agent: number;
  version: number;
  composition: Composition;
}

/** An operator with bond and 20 funded channels. */
export interface Served {
  operator: number;
  /** The first of its channels; the others follow. */
  firstChannel: number;
  keys: Uint8Array[];
}

export const CHANNELS = 20;
const CONTRIBUTIONS = 240;

let drawn = 0;

/** 32 bytes that look random and are the same in every run. */
export function draw(): Uint8Array {
  return createHash("sha256").update(`settlement benchmark ${drawn++}`).digest();
}

const hash = () => toHex(draw());

/** Registers a DataNet of 240 contributions, an adapter trained on it, a prompt, a tool and an agent of them all. */
export async function register(stage: Stage): Promise<Cast> {
  const { contracts: c, gasOf } = stage;
  const lastId = () => c.allocator.read.lastId();
  const text = ["", "CC-BY-4.0", []] as const;
  await gasOf(c.dataNets.write.createDataNet(["Benchmark", hash(), ...text]));
  const dataNet = await lastId();
  for (let i = 0; i < CONTRIBUTIONS; i++) {
    await c.dataNets.write.submit([dataNet, hash(), "", "CC-BY-4.0", 1, 1, []]);
  }
  const contributions = Array.from({ length: CONTRIBUTIONS }, (_, i) => dataNet + 1 + i);
  await gasOf(c.dataNets.write.accept([contributions]));
  await gasOf(c.dataNets.write.publishVersion([dataNet]));
  const weights = { baseModel: hash(), weightsHash: hash(), rank: 16, targetModules: "q_proj,v_proj" };
  await gasOf(c.adapters.write.register(["Skill", { ...weights, lineage: [{ dataNet, version: 1 }] }, ...text]));
  const adapter = await lastId();
  await gasOf(c.prompts.write.register(["Prompt", hash(), ["question"], ...text]));
  const prompt = await lastId();
  await gasOf(c.tools.write.register(["Tool", hash(), "https://tool.example", ...text]));
  const tool = await lastId();
  await gasOf(c.agents.write.create(["Agent", hash(), ...text]));
  const agent = await lastId();
  const composition: Composition = {
    baseModel: draw(),
    pricePerJob: OPEN / 1000n,
    pricePerPromptToken: 10n ** 12n,
    pricePerCompletionToken: 3n * 10n ** 12n,
    split: {
      operator: 300_000,
      publisher: 100_000,
      adapters: 100_000,
      prompt: 50_000,
      context: 400_000,
      training: 0,
      tool: 50_000,
    },
    emptyContext: EMPTY_POOL.proRata,
    emptyTraining: EMPTY_POOL.proRata,
    emptyTool: EMPTY_POOL.publisher,
    contextMeasure: 0,
    trainingMeasure: 0,
    prompt: { id: prompt, version: 1 },
    adapters: [{ id: adapter, version: 1, share: 1_000_000, scale: 1_000_000 }],
    dataNets: [{ id: dataNet, version: 1 }],
    tools: [{ id: tool, version: 1 }],
  };
  await gasOf(c.agents.write.publishVersion([agent, toHex(encodeComposition(composition))]));
  return { contributions, tool, agent, version: 1, composition };
}

/** Registers an operator with a bond and opens 20 channels to it, 1,000 OPEN each. */
export async function openForService(stage: Stage): Promise<Served> {
  const { contracts: c, wallets, parameters, gasOf } = stage;
  const me = wallets[0].account.address;
  await gasOf(c.operators.write.register(["https://operator.example", me]));
  const operator = await c.operators.read.operatorCount();
  await gasOf(c.token.write.approve([c.operators.address, 2n ** 255n]));
  await gasOf(c.operators.write.depositBond([operator, 100n * parameters.minimumBond]));
  await gasOf(c.token.write.approve([c.channels.address, 2n ** 255n]));
  const firstChannel = (await c.channels.read.channelCount()) + 1;
  const keys = Array.from({ length: CHANNELS }, draw);
  for (const key of keys)
    await gasOf(c.channels.write.open([operator, privateKeyToAddress(toHex(key)), 1_000n * OPEN]));
  return { operator, firstChannel, keys };
}
