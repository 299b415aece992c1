import { toHex } from "../protocol/bytes.ts";
import type { Composition } from "../protocol/composition.ts";
import { ApiError } from "./api-error.ts";
import type { GatewayOptions, GatewayRegistry } from "./gateway-options.ts";

/** An agent version that this node can be asked for. */
export interface ServedAgent {
  id: number;
  name: string;
  owner: string;
  version: number;
  /** Seconds since 1970. */
  publishedAt: number;
  composition: Composition;
}

type AgentSources = Pick<GatewayOptions, "registry" | "servesModel">;

/**
 * The agent version that a request means.
 *
 * @param model `name` for the newest version, or `name@version`.
 * @throws {ApiError} 404 `model_not_found`.
 */
export function resolveAgent(model: string, { registry, servesModel }: AgentSources): ServedAgent {
  const notFound = (why: string) => new ApiError(404, why, { code: "model_not_found", param: "model" });
  const [entry, asked] = entryOf(model, registry);
  if (!entry) throw notFound(`There is no agent '${model}'.`);
  const version = asked ?? entry.head;
  const published = registry.agentVersion(entry.id, version);
  if (!published) throw notFound(`Agent '${entry.name}' has no version ${version}.`);
  const { composition, publishedAt } = published;
  if (!servesModel(composition.baseModel)) {
    throw notFound(`Agent '${model}' runs on base model ${toHex(composition.baseModel)}, which is not here.`);
  }
  return { id: entry.id, name: entry.name, owner: entry.owner, version, publishedAt, composition };
}

/** A name may end like a version; the agent without that ending goes before, or anybody could take its versions over. */
function entryOf(model: string, registry: GatewayRegistry) {
  const match = /^(.+)@(\d{1,9})$/s.exec(model);
  const base = match ? registry.agentByName(match[1]) : undefined;
  return base ? ([base, Number(match![2])] as const) : ([registry.agentByName(model), undefined] as const);
}

/** The newest versions of all agents that can be asked for here. */
export function servedAgents(sources: AgentSources): ServedAgent[] {
  const { registry } = sources;
  return registry.agents().flatMap(({ id, name, head }) => {
    // A name belongs to whoever registered it first; others of that name cannot be asked for.
    if (head === 0 || registry.agentByName(name)?.id !== id) return [];
    try {
      return [resolveAgent(`${name}@${head}`, sources)];
    } catch (error) {
      if (error instanceof ApiError) return [];
      throw error;
    }
  });
}

/** An agent in the shape of OpenAI's models, with what OpenAI's have not: prices (wei of OPEN) and what it is made of. */
export function modelBody({ id, name, owner, version, publishedAt, composition }: ServedAgent) {
  const { adapters, dataNets, tools, prompt, split } = composition;
  return {
    id: name,
    object: "model" as const,
    created: publishedAt,
    owned_by: owner,
    openledger: {
      agent: id,
      version,
      base_model: toHex(composition.baseModel),
      price: {
        job: String(composition.pricePerJob),
        prompt_token: String(composition.pricePerPromptToken),
        completion_token: String(composition.pricePerCompletionToken),
      },
      split,
      adapters: adapters.map((adapter) => ({ id: adapter.id, version: adapter.version })),
      data_nets: dataNets,
      tools,
      prompt,
    },
  };
}
