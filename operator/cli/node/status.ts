import { createPublicClient, http, type PublicClient } from "viem";
import { contractOf } from "../../chain/contracts.ts";
import { inOpen, printResult } from "../chain/chain-session.ts";
import { EXIT } from "../exit-codes.ts";
import type { NodeFileOptions } from "../operator.ts";
import { deploymentFrom, readNodeFile } from "./node-file.ts";
import { runningNodes } from "./running-nodes.ts";

/** `openledger operator status` */
export async function showStatus(options: NodeFileOptions): Promise<void> {
  const config = readNodeFile(options);
  const { gateway, health, operator: id } = config;
  const nodes = runningNodes(config.data);
  const isGateway = nodes.some(({ roles }) => roles.includes("gateway"));
  const [host, port] = isGateway ? [gateway.host, gateway.port] : [health.host, health.port];
  const node = port === undefined || port === 0 ? undefined : await readHealth(host, port);

  const client = createPublicClient({ transport: http(config.chain.rpc) }) as PublicClient;
  const deployment = deploymentFrom(config)(await client.getChainId());
  const operators = contractOf(deployment, "operators");
  const settlement = contractOf(deployment, "settlement");
  const [bond, chain] = await Promise.all([
    client.readContract({ ...operators, functionName: "bondOf", args: [id] }),
    client.readContract({ ...settlement, functionName: "chainOf", args: [id] }),
  ]);
  printResult(options.json, {
    operator: id,
    processes: nodes.map(({ pid, roles }) => `${pid}: ${roles.join(", ")}`),
    bond: inOpen(bond),
    batches: Number(chain.tip),
    finalBatches: Number(chain.finalHeight),
    ready: node?.status === "ready",
    ...(node ?? {}),
  });
  if (node?.status !== "ready") process.exitCode = EXIT.unavailable;
}

async function readHealth(host: string, port: number): Promise<Record<string, unknown> | undefined> {
  // An address that listens everywhere is reached at this machine's own.
  const near = host === "0.0.0.0" ? "127.0.0.1" : host === "::" ? "[::1]" : host;
  try {
    const response = await fetch(`http://${near}:${port}/health`, { signal: AbortSignal.timeout(5_000) });
    return (await response.json()) as Record<string, unknown>;
  } catch {
    return undefined;
  }
}
