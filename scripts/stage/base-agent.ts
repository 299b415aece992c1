import { hashModel } from "../../operator/engine/runtime/compiled-model.ts";
import { fromHex, toHex } from "../../operator/protocol/bytes.ts";
import { EMPTY_POOL, encodeComposition } from "../../operator/protocol/composition.ts";
import { keccak } from "../../operator/protocol/keccak.ts";
import type { PriceTerms } from "../../operator/protocol/price.ts";
import type { Person } from "./cast.ts";
import type { Stage } from "./stage.ts";

export interface BaseAgent {
  name: string;
  /** Folder of the base model. */
  model: string;
  /** In wei of OPEN. */
  prices: PriceTerms;
}

/**
 * Registers an agent of a base model alone: 60 % of each price are the operator's, 40 % the publisher's.
 *
 * @returns Its id.
 */
export async function publishBaseAgent(stage: Stage, publisher: Person, agent: BaseAgent): Promise<number> {
  const { contracts: c, gasOf } = stage;
  const { account } = publisher;
  const { name, model, prices } = agent;
  const description = toHex(keccak(new TextEncoder().encode(name)));
  await gasOf(c.agents.write.create([name, description, "ipfs://nothing", "MIT", []], { account }));
  const id = await c.allocator.read.lastId();
  const composition = encodeComposition({
    baseModel: fromHex(`0x${hashModel(model)}`),
    pricePerJob: prices.pricePerJob,
    pricePerPromptToken: prices.pricePerPromptToken,
    pricePerCompletionToken: prices.pricePerCompletionToken,
    split: { operator: 600_000, publisher: 400_000, adapters: 0, prompt: 0, context: 0, training: 0, tool: 0 },
    emptyContext: EMPTY_POOL.publisher,
    emptyTraining: EMPTY_POOL.publisher,
    emptyTool: EMPTY_POOL.publisher,
    contextMeasure: 0,
    trainingMeasure: 0,
    prompt: null,
    adapters: [],
    dataNets: [],
    tools: [],
  });
  await gasOf(c.agents.write.publishVersion([id, toHex(composition)], { account }));
  return id;
}
