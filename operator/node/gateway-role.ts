import type { Hex } from "viem";
import { isRemoteEngineAddress } from "../engine/remote/connect.ts";
import { hashModel } from "../engine/runtime/compiled-model.ts";
import type { SearchDataNets } from "../gateway/gateway-options.ts";
import { type RunningGateway, startGateway } from "../gateway/start-gateway.ts";
import { toHex } from "../protocol/bytes.ts";
import type { JobQueue } from "../queue/job-queue.ts";
import type { JobServer } from "../serving/job-server.ts";
import { readModelText } from "../serving/model-text.ts";
import type { Sequencer } from "../settlement/sequencer.ts";
import type { NodeBase } from "./node-base.ts";
import { nodeReport } from "./node-report.ts";
import type { SettlerRole } from "./settler-role.ts";

/** What the gateway may know of the roles beside it. */
export interface Neighbours {
  sequencer: Sequencer;
  queue: JobQueue;
  books?: SettlerRole;
  /** Has the DataNets that may be searched. */
  server?: Pick<JobServer, "searchReady">;
}

/** Starts the HTTP API; the first to be closed, so that nothing new comes in. */
export async function startServing(
  base: NodeBase,
  { sequencer, queue, books, server }: Neighbours,
): Promise<RunningGateway> {
  const { config, deployment, windows, mirror, parts, say, atClose } = base;
  const { host, port, cors, contextTokens, answerTokens } = config.gateway;
  const { channels, token } = deployment.contracts;
  const model = config.engine?.model;
  const text = model !== undefined && !isRemoteEngineAddress(model) ? readModelText(model) : undefined;
  const gateway = await startGateway({
    ...{ host, port, sequencer, queue, voucherLife: windows.voucherLife, registry: mirror },
    operator: config.operator,
    domain: { chainId: BigInt(deployment.chainId), verifyingContract: channels },
    asset: token,
    servesModel: servesModel(base),
    ...(text && { countTokens: (prompt: string) => text.count({ text: prompt }) }),
    ...(contextTokens !== undefined && { contextTokens }),
    ...(answerTokens !== undefined && { answerTokens }),
    ...(books && { books: books.journal, publishedDirectory: books.publishedDirectory }),
    ...(server && { searchDataNets: searchIn(server) }),
    ...(cors.length > 0 && { cors }),
    report: () => nodeReport(parts),
    metrics: parts.flatMap(({ metrics }) => (metrics ? [metrics] : [])),
    onError: (error) => say(`The gateway: ${(error as Error).stack ?? error}`),
  });
  atClose(() => gateway.close(config.shutdownSeconds * 1_000));
  return gateway;
}

function searchIn(server: Pick<JobServer, "searchReady">): SearchDataNets {
  return async (asked) =>
    (await server.searchReady(asked)).map(({ dataNet, version, contribution, path, text, score }) => {
      return { data_net: dataNet, version, contribution, path, text, score };
    });
}

/** Of this machine's model by its hash; of workers elsewhere what the configuration says. */
function servesModel({ config }: NodeBase): (baseModel: Uint8Array) => boolean {
  const named = new Set<string>(config.gateway.baseModels.map((hash) => hash.toLowerCase()));
  const model = config.engine?.model;
  if (model !== undefined && !isRemoteEngineAddress(model)) named.add(`0x${hashModel(model)}` satisfies Hex);
  return (baseModel) => named.size === 0 || named.has(toHex(baseModel));
}
